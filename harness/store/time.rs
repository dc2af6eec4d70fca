//! Dates, as stamps and other programs write them.

/// Seconds since 1970 of an RFC 3339 date in UTC, `2026-01-02T03:04:05Z`, as stamps have it; a fraction of a second
/// is dropped.
pub fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let parts = |text: &str, sign| text.split(sign).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<i64>>>();
    let (date, time) = (parts(date, '-')?, parts(time.split('.').next()?, ':')?);
    let (&[year, month, day], &[hour, minute, second]) = (date.as_slice(), time.as_slice()) else { return None };
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    // Days from a year that begins in March, so that the leap day comes last.
    let years = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + day_of_year - 719_468;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) as f64)
}

/// The RFC 3339 date of seconds since 1970, in UTC with whole seconds; `None` outside the years 1970 to 9999.
pub fn rfc3339(seconds: f64) -> Option<String> {
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return None;
    }
    let (days, rest) = (seconds as u64 / 86_400, seconds as u64 % 86_400);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    Some(format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60))
}

/// A date as lm-eval puts it into file names.
pub fn file_date(text: &str) -> String {
    let date: String = text.trim_end_matches('Z').replace(':', "-");
    let plain = !date.is_empty() && date.chars().all(|sign| sign.is_ascii_alphanumeric() || "-.".contains(sign));
    if plain { date } else { "1970-01-01T00-00-00".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{file_date, rfc3339, unix_seconds};

    #[test]
    fn dates_have_known_answers() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(unix_seconds("2000-02-29T23:59:59Z"), Some(951_868_799.0));
        assert_eq!(unix_seconds("2026-01-02T03:04:05Z"), Some(1_767_323_045.0));
        assert_eq!(unix_seconds("2024-02-29T12:00:00.25Z"), Some(1_709_208_000.0));
        assert_eq!(unix_seconds("2026-13-02T03:04:05Z"), None);
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn dates_come_back() {
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-01-02T03:04:05Z", "2100-03-01T00:00:00Z"] {
            assert_eq!(unix_seconds(text).and_then(rfc3339).as_deref(), Some(text));
        }
        assert_eq!((rfc3339(f64::NAN), rfc3339(-1.0), rfc3339(1e300)), (None, None, None));
    }

    #[test]
    fn file_dates_are_safe() {
        assert_eq!(file_date("2026-01-02T03:04:05Z"), "2026-01-02T03-04-05");
        assert_eq!(file_date("../x"), "1970-01-01T00-00-00");
    }
}
