//! Durations as Go writes them: `1h30m`, `60s`, `1.5s`, `100ms`.

use std::time::Duration;

/// Reads a duration; the error is Go's.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        rest = &rest[unit..];
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())?;
        total = total.checked_add(part).ok_or_else(invalid)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let rows = [
            ("1h30m", Ok(5_400_000)),
            ("60s", Ok(60_000)),
            ("1.5s", Ok(1_500)),
            ("100ms", Ok(100)),
            ("0", Ok(0)),
            ("", Err(())),
            ("10", Err(())),
            ("-1s", Err(())),
            ("1x", Err(())),
            ("99999999999999999999h", Err(())),
        ];
        for (text, want) in rows {
            let got = parse(text).map(|d| d.as_millis()).map_err(|_| ());
            assert_eq!(got, want, "{text}");
        }
    }
}
