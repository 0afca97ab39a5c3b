//! The audit log's file: a line of JSON per event, turned over by size and age.
//!
//! One thread writes, in the order in which events came; a full queue holds requests back, so that none is answered
//! unlogged for long. Files that were turned over are called `NAME-TIME.EXT`, as upstream's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

/// Lines that may wait for the file.
const QUEUE_MAX: usize = 10_000;

/// Where the log is and when it is turned over.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Megabytes after which it is turned over; 0: 100, as upstream.
    pub max_size: u64,
    /// Files that are kept beside it; 0: all.
    pub max_backups: usize,
    /// Days that they are kept; 0: for ever.
    pub max_age: u64,
}

/// A log that is open.
pub struct Log {
    lines: mpsc::Sender<Vec<u8>>,
}

impl Log {
    /// Opens the file, to write behind what is there.
    pub fn open(options: LogOptions) -> io::Result<Log> {
        let mut writer = Writer::open(options)?;
        let (lines, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE_MAX);
        std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || {
                while let Some(line) = queue.blocking_recv() {
                    if let Err(err) = writer.write(&line) {
                        tracing::error!(err = &err as &dyn std::error::Error, "audit event lost");
                    }
                }
            })?;
        Ok(Log { lines })
    }

    /// Writes a line. Waits only while very many are waiting.
    pub async fn write(&self, line: Vec<u8>) {
        // The thread ends with the last sender only.
        let _ = self.lines.send(line).await;
    }

    /// Writes a line from where nobody can wait: the end of a stream.
    pub fn write_now(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_err() {
            tracing::error!("audit event lost: too many wait for the file");
        }
    }
}

struct Writer {
    options: LogOptions,
    file: Box<dyn Write + Send>,
    size: u64,
}

impl Writer {
    fn open(options: LogOptions) -> io::Result<Writer> {
        if options.path == Path::new("-") {
            return Ok(Writer {
                options,
                file: Box::new(io::stdout()),
                size: 0,
            });
        }
        let file = append(&options.path)?;
        let size = file.metadata()?.len();
        Ok(Writer {
            options,
            file: Box::new(file),
            size,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let max = match self.options.max_size {
            0 => 100,
            size => size,
        };
        let full = self.size > 0 && self.size + line.len() as u64 > max << 20;
        if full && self.options.path != Path::new("-") {
            self.turn_over()?;
        }
        self.size += line.len() as u64;
        self.file.write_all(line)
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let path = self.options.path.clone();
        let time = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H-%M-%S.%3f")
            .to_string();
        fs::rename(&path, backup(&path, &time))?;
        self.file = Box::new(append(&path)?);
        self.size = 0;
        self.remove_old()
    }

    /// Removes files that are too many or too old.
    fn remove_old(&self) -> io::Result<()> {
        let (path, options) = (&self.options.path, &self.options);
        let directory = path
            .parent()
            .filter(|d| !d.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let start = format!(
            "{}-",
            path.file_stem().unwrap_or_default().to_string_lossy()
        );
        let mut files: Vec<(PathBuf, fs::Metadata)> = fs::read_dir(directory)?
            .filter_map(Result::ok)
            .filter(|e| e.file_name().to_string_lossy().starts_with(&start))
            .filter(|e| e.path().extension() == path.extension())
            .filter_map(|e| Some((e.path(), e.metadata().ok()?)))
            .collect();
        files.sort_by(|a, b| b.0.cmp(&a.0));
        let age_max = Duration::from_secs(options.max_age * 24 * 3600);
        let old = |meta: &fs::Metadata| {
            let age = meta.modified().ok().and_then(|t| t.elapsed().ok());
            options.max_age > 0 && age.is_some_and(|age| age > age_max)
        };
        for (i, (file, meta)) in files.iter().enumerate() {
            if options.max_backups > 0 && i >= options.max_backups || old(meta) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn backup(path: &Path, time: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{stem}-{time}{}", extension.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_turned_over_and_old_ones_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.log");
        let options = LogOptions {
            path: path.clone(),
            max_size: 1,
            max_backups: 2,
            max_age: 0,
        };
        fs::write(&path, "before\n").expect("written");
        let mut writer = Writer::open(options).expect("opens");
        let line = vec![b'x'; 600 << 10];
        for i in 0..5 {
            // Names are by milliseconds, which may be the same in a fast run.
            writer.write(&line).expect("written");
            let count = fs::read_dir(directory.path()).expect("readable").count();
            assert!(count <= 3, "{i}: {count} files");
        }
        assert_eq!(fs::metadata(&path).expect("there").len(), line.len() as u64);
    }
}
