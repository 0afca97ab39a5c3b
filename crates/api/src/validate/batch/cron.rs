//! CronJobs: schedules as upstream's cron library reads them, and time zones.

use super::super::checks::{Errors, non_negative, one_of, same, some, text};
use super::job_spec;
use crate::field::{Error, Path, quote};
use jiff::tz::TimeZoneDatabase;
use serde_json::Value;

/// `old` is the version that an update replaces.
pub(in super::super) fn cron_job(errors: &mut Errors, object: &Value, old: Option<&Value>) {
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let old_spec = old.map(|old| &old["spec"]);
    match text(spec, "schedule") {
        // Told by upstream's generated validation, which comes last.
        "" => {}
        schedule => {
            let zoned = old_spec.is_some_and(|old| text(old, "schedule").contains("TZ"));
            self::schedule(
                errors,
                &path.field("schedule"),
                schedule,
                zoned,
                some(spec, "timeZone"),
            );
        }
    }
    non_negative(errors, &path, spec, "startingDeadlineSeconds");
    if old_spec.is_none_or(|old| !same(&old["timeZone"], &spec["timeZone"])) {
        time_zone(errors, &path.field("timeZone"), some(spec, "timeZone"));
    }
    one_of(
        errors,
        &path,
        spec,
        "concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
    );
    let template = path.field("jobTemplate");
    let (job_path, job) = (template.field("spec"), &spec["jobTemplate"]["spec"]);
    job_spec(errors, &job_path, job);
    if let Some(selector) = some(job, "selector") {
        let shown = super::super::workload::shown_selector(Some(selector));
        let detail = "`selector` will be auto-generated";
        errors.push(Error::invalid(&job_path.field("selector"), shown, detail));
    }
    if job["manualSelector"] == true {
        let at = job_path.field("manualSelector");
        errors.push(Error::not_supported(
            &at,
            Value::from(true),
            &["nil", "false"],
        ));
    }
    for member in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(errors, &path, spec, member);
    }
    if text(spec, "schedule").is_empty() {
        errors.push(Error::required(&path.field("schedule"), ""));
    }
    // The name was a shorter one's already; a CronJob's Jobs have eleven characters more.
    if old.is_none() {
        const NAME_MAX: usize = 52;
        let name = text(&object["metadata"], "name");
        if name.len() > NAME_MAX {
            let meta = Path::root("metadata");
            errors.push(Error::invalid(
                &meta.field("name"),
                name,
                crate::names::max_length(NAME_MAX),
            ));
        }
    }
}

fn schedule(
    errors: &mut Errors,
    path: &Path<'_>,
    schedule: &str,
    zoned: bool,
    zone: Option<&Value>,
) {
    if let Err(why) = parse(schedule) {
        errors.push(Error::invalid(path, schedule, why));
    }
    if schedule.contains("TZ") {
        let detail = match (zoned, zone) {
            (true, None) => return,
            (true, Some(_)) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        };
        errors.push(Error::invalid(path, schedule, detail));
    }
}

/// Whether the database has a zone of exactly this name.
fn is_zone(name: &str) -> bool {
    let found = TimeZoneDatabase::bundled().get(name);
    found.is_ok_and(|zone| zone.iana_name() == Some(name))
}

fn time_zone(errors: &mut Errors, path: &Path<'_>, zone: Option<&Value>) {
    const PART_MAX: usize = 14;
    let Some(name) = zone.and_then(Value::as_str) else {
        return;
    };
    if name.is_empty() {
        errors.push(Error::invalid(
            path,
            "",
            "timeZone must be nil or non-empty string",
        ));
        return;
    }
    let well_formed = name.split('/').all(|part| {
        let letters = part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
        letters
            && (1..=PART_MAX).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
    });
    let unknown = format!("unknown time zone {name}");
    if !well_formed {
        errors.push(Error::invalid(path, name, unknown));
        return;
    }
    let local = name.eq_ignore_ascii_case("local");
    if local {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(path, name, detail));
    }
    if name != "Local" && !is_zone(name) {
        errors.push(Error::invalid(path, name, unknown));
    }
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The numbers that a field may have, and the words for them from the first on.
struct Bounds {
    min: i64,
    max: i64,
    words: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds {
        min: 0,
        max: 59,
        words: &[],
    },
    Bounds {
        min: 0,
        max: 23,
        words: &[],
    },
    Bounds {
        min: 1,
        max: 31,
        words: &[],
    },
    Bounds {
        min: 1,
        max: 12,
        words: &MONTHS,
    },
    Bounds {
        min: 0,
        max: 6,
        words: &DAYS,
    },
];

fn parse(schedule: &str) -> Result<(), String> {
    let mut schedule = schedule;
    if let Some(zoned) = ["TZ=", "CRON_TZ="]
        .iter()
        .find_map(|p| schedule.strip_prefix(p))
    {
        // Without a blank the library panics, which upstream turns into this.
        let (zone, rest) = zoned.split_once(' ').ok_or("invalid schedule format")?;
        if !zone.is_empty() && zone != "Local" && !is_zone(zone) {
            return Err(format!(
                "provided bad location {zone}: unknown time zone {zone}"
            ));
        }
        schedule = rest.trim();
    }
    if schedule.starts_with('@') {
        return descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let found = fields.len();
        return Err(format!(
            "expected exactly 5 fields, found {found}: [{}]",
            fields.join(" ")
        ));
    }
    let mut pairs = fields.iter().zip(&FIELDS);
    pairs.try_for_each(|(field, bounds)| field_of(field, bounds))
}

fn descriptor(text: &str) -> Result<(), String> {
    const KNOWN: [&str; 7] = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    match text.strip_prefix("@every ") {
        Some(duration) => crate::time::go_duration(duration)
            .map_err(|why| format!("failed to parse duration {text}: {why}")),
        None if KNOWN.contains(&text) => Ok(()),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

fn number(text: &str, bounds: &Bounds) -> Result<i64, String> {
    if let Some(word) = bounds
        .words
        .iter()
        .position(|w| w.eq_ignore_ascii_case(text))
    {
        return Ok(bounds.min + word as i64);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let why = match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    let number: i64 = text.parse().map_err(|_| {
        format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {}: {why}",
            quote(text)
        )
    })?;
    match number < 0 {
        true => Err(format!("negative number ({number}) not allowed: {text}")),
        false => Ok(number),
    }
}

fn field_of(field: &str, bounds: &Bounds) -> Result<(), String> {
    let mut parts = field.split(',').filter(|part| !part.is_empty());
    parts.try_for_each(|part| range(part, bounds))
}

fn range(expression: &str, bounds: &Bounds) -> Result<(), String> {
    let (min, max) = (bounds.min, bounds.max);
    let slashes: Vec<&str> = expression.split('/').collect();
    let ends: Vec<&str> = slashes[0].split('-').collect();
    let (low, mut high) = match ends[..] {
        ["*" | "?", ..] => (min, max),
        [one] => {
            let number = number(one, bounds)?;
            (number, number)
        }
        [low, high] => (number(low, bounds)?, number(high, bounds)?),
        _ => return Err(format!("too many hyphens: {expression}")),
    };
    let step = match slashes[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step, bounds)?;
            if ends.len() == 1 {
                high = max;
            }
            step
        }
        _ => return Err(format!("too many slashes: {expression}")),
    };
    if low < min {
        return Err(format!(
            "beginning of range ({low}) below minimum ({min}): {expression}"
        ));
    }
    if high > max {
        return Err(format!(
            "end of range ({high}) above maximum ({max}): {expression}"
        ));
    }
    if low > high {
        return Err(format!(
            "beginning of range ({low}) beyond end of range ({high}): {expression}"
        ));
    }
    match step {
        0 => Err(format!(
            "step of range should be a positive number: {expression}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_the_library_reads_them() {
        let table = [
            ("*/5 * * * *", Ok(())),
            ("0 0 1-7,15 jan-mar MON", Ok(())),
            ("@hourly", Ok(())),
            ("@every 1h30m", Ok(())),
            ("@foo", Err("unrecognized descriptor: @foo")),
            ("TZ=UTC 0 0 * * *", Ok(())),
            ("TZ=0", Err("invalid schedule format")),
            (
                "60 * * * *",
                Err("end of range (60) above maximum (59): 60"),
            ),
            (
                "*/0 * * * *",
                Err("step of range should be a positive number: */0"),
            ),
            ("1-2-3 * * * *", Err("too many hyphens: 1-2-3")),
            (
                "* * * *",
                Err("expected exactly 5 fields, found 4: [* * * *]"),
            ),
        ];
        for (text, want) in table {
            assert_eq!(parse(text), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn zones_are_those_of_the_database() {
        for (zone, known) in [
            ("Europe/Oslo", true),
            ("UTC", true),
            ("europe/oslo", false),
            ("Mars/X", false),
        ] {
            assert_eq!(is_zone(zone), known, "{zone}");
        }
    }
}
