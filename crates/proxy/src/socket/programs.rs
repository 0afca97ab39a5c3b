//! The programs at a cgroup and their maps: loaded, found again, attached, taken away.

use std::error::Error as StdError;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use karve_sys::bpf::{Hook, Map, MapSpec, Object, Program};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::layout::MAPS;
use super::{Error, Options};
use crate::dataplane::Family;

/// Built from `bpf/balancer.c` by `cargo xtask bpf`.
pub(super) const OBJECT: &[u8] = include_bytes!("../../bpf/balancer.o");
/// The programs, in the order in which they are attached: names are told before addresses change.
pub(super) const HOOKS: [Hook; 4] = [
    Hook::PeerName4,
    Hook::PeerName6,
    Hook::Connect4,
    Hook::Connect6,
];
/// What our programs' names begin with.
pub(super) const PREFIX: &str = "kv_";

/// The programs and maps, for both address families.
#[derive(Debug)]
pub(super) struct Programs {
    options: Options,
    cgroup: File,
    maps: Vec<Map>,
    programs: Vec<(Hook, Program)>,
    /// Families whose maps are not filled yet; `None` once something has failed.
    waiting: Mutex<Option<Vec<Family>>>,
}

/// Takes our programs away from a cgroup.
pub(crate) fn detach(cgroup: &Path) -> Result<(), Error> {
    let dir = match File::open(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| Error::Cgroup {
            path: cgroup.to_path_buf(),
            source,
        })?,
    };
    for hook in HOOKS.iter().rev() {
        for program in ours(&dir, *hook)? {
            program.detach(dir.as_fd())?;
        }
    }
    Ok(())
}

/// Our programs at a hook: one, unless somebody died.
fn ours(cgroup: &File, hook: Hook) -> Result<Vec<Program>, Error> {
    let mut ours = Vec::new();
    for program in Program::attached(cgroup.as_fd(), hook)? {
        if program.facts()?.name.starts_with(PREFIX) {
            ours.push(program);
        }
    }
    Ok(ours)
}

/// An error and its causes in one line.
pub(super) fn chain(err: &Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}

/// Writes down which path is in use.
pub(super) fn report(path: &Path, text: &str) {
    if let Err(err) = std::fs::write(path, format!("{text}\n")) {
        let path = path.display();
        warn!(%path, err = &err as &dyn StdError, "report could not be written");
    }
}

impl Programs {
    /// Loads the programs. They share the maps of those that are attached, if these are of our version.
    pub(super) fn open(options: &Options, families: &[Family]) -> Result<Self, Error> {
        let path = &options.cgroup;
        let cgroup = File::open(path).map_err(|source| Error::Cgroup {
            path: path.clone(),
            source,
        })?;
        let mut maps = Vec::new();
        if let Some(program) = ours(&cgroup, Hook::Connect4)?.first() {
            for id in program.facts()?.maps {
                maps.extend(Map::open(id, &MAPS)?);
            }
        }
        let is_whole = MAPS
            .iter()
            .all(|spec| maps.iter().any(|map| map.spec() == spec));
        if !is_whole {
            maps = MAPS
                .iter()
                .map(|spec| Map::create(*spec))
                .collect::<Result<_, _>>()?;
        }
        let object = Object::parse(OBJECT)?;
        let load = |hook: &Hook| Ok((*hook, Program::load(&object, *hook, PREFIX, &maps)?));
        let programs = HOOKS.iter().map(load).collect::<Result<_, Error>>()?;
        Ok(Self {
            options: options.clone(),
            cgroup,
            maps,
            programs,
            waiting: Mutex::new(Some(families.to_vec())),
        })
    }

    pub(super) fn map(&self, spec: MapSpec) -> &Map {
        let map = self.maps.iter().find(|map| *map.spec() == spec);
        map.expect("made by open")
    }

    /// Whether nothing has failed so far.
    pub(super) fn is_trusted(&self) -> bool {
        self.waiting.lock().is_some()
    }

    /// A family's maps are as desired. When all are, the programs are attached.
    pub(super) fn filled(&self, family: Family) -> Result<(), Error> {
        let mut waiting = self.waiting.lock();
        let Some(families) = waiting.as_mut().filter(|families| !families.is_empty()) else {
            return Ok(());
        };
        families.retain(|other| *other != family);
        if families.is_empty() {
            let mut programs = self.programs.iter();
            programs.try_for_each(|(hook, program)| self.attach(*hook, program))?;
            info!("sockets of pods and of the node balance by themselves");
            report(&self.options.report, "bpf");
        }
        Ok(())
    }

    /// Attaches a program, in place of one of another version; leaves it as it is when it is the same.
    fn attach(&self, hook: Hook, program: &Program) -> Result<(), Error> {
        let attached = ours(&self.cgroup, hook)?;
        let (new, mut replaced) = (program.facts()?, None);
        for old in &attached {
            if old.facts()? == new {
                return Ok(());
            }
            replaced = Some(old);
        }
        Ok(program.attach(self.cgroup.as_fd(), replaced)?)
    }

    /// Gives up: maps that are not as desired must not be used.
    pub(super) fn fail(&self, err: &Error) {
        *self.waiting.lock() = None;
        let reason = chain(err);
        warn!(reason, "no short path any more, nf_tables serves all");
        if let Err(err) = detach(&self.options.cgroup) {
            warn!(
                err = &err as &dyn StdError,
                "programs could not be detached"
            );
        }
        report(&self.options.report, &format!("nf_tables: {reason}"));
    }
}

/// All elements of the maps of a cgroup's programs.
#[cfg(test)]
pub(crate) fn contents(
    cgroup: &Path,
) -> Result<Vec<(&'static str, Vec<karve_sys::bpf::Entry>)>, Error> {
    let dir = File::open(cgroup).map_err(|source| Error::Cgroup {
        path: cgroup.to_path_buf(),
        source,
    })?;
    let mut contents = Vec::new();
    for program in ours(&dir, Hook::Connect4)? {
        for id in program.facts()?.maps {
            let map = Map::open(id, &MAPS)?.filter(|map| map.spec().max > 0);
            if let Some(map) = map {
                let mut elements = map.elements()?;
                elements.sort();
                contents.push((map.spec().name, elements));
            }
        }
    }
    Ok(contents)
}
