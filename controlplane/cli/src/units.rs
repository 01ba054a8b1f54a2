//! Figures as people read them: three digits and a unit.

pub(crate) use proto::json::direction_word as direction;

/// Packets a second.
pub(crate) fn pps(rate: f64) -> String {
    scaled(rate, 1000.0, &["pps", "kpps", "Mpps", "Gpps"])
}

/// Bits a second.
pub(crate) fn bps(rate: f64) -> String {
    scaled(rate, 1000.0, &["bps", "kbps", "Mbps", "Gbps", "Tbps"])
}

/// Flows a second.
pub(crate) fn flows(rate: f64) -> String {
    scaled(rate, 1000.0, &["flows/s", "kflows/s", "Mflows/s"])
}

/// A length.
pub(crate) fn bytes(length: u64) -> String {
    scaled(length as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// A figure of a metric such as "udp_pps".
pub(crate) fn metric(name: &str, figure: f64) -> String {
    match name {
        "flows_per_second" => flows(figure),
        name if name.ends_with("_bps") => bps(figure),
        _ => pps(figure),
    }
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would be shown as 1000 of the smaller unit.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit])
}

/// A count, its digits in groups: 1,234,567.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share as percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// How long ago a time was; "-" for none.
pub(crate) fn age(time_ms: i64, now_ms: i64) -> String {
    match time_ms {
        0 => "-".to_owned(),
        _ => format!("{} ago", duration(now_ms - time_ms)),
    }
}

/// A duration in its largest two units.
pub(crate) fn duration(duration_ms: i64) -> String {
    let seconds = duration_ms.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A point in time, in UTC: "2026-11-21 21:03:33.123".
pub(crate) fn time(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => format!("{time_ms} ms"),
    }
}

/// A length of time that a person wrote, "90m", in seconds.
pub(crate) fn length(text: &str) -> Option<u32> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let of_unit = |(unit, seconds): (&str, u32)| text.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(seconds);
    units.into_iter().find_map(of_unit)
}

/// A point in time that a person wrote, in UTC where it does not say: a day, a day and a time, or how long ago.
pub(crate) fn point(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(seconds) = length(text) {
        return Some(now_ms - i64::from(seconds) * 1000);
    }
    let utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let time = text.parse().ok().or_else(|| utc().map(|zoned| zoned.timestamp()));
    time.map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let rates = [0.0, 0.4, 950.0, 999.4, 999.6, 1000.0, 1234.0, 12_345.0, 999_400.0, 999_600.0, 14_880_952.0, 5e12];
        let shown = rates.map(pps);
        let expected = [
            "0 pps",
            "0 pps",
            "950 pps",
            "999 pps",
            "1.00 kpps",
            "1.00 kpps",
            "1.23 kpps",
            "12.3 kpps",
            "999 kpps",
            "1.00 Mpps",
            "14.9 Mpps",
            "5000 Gpps",
        ];
        assert_eq!(shown, expected);
        assert_eq!([bps(9_999_000_000.0), bps(99_990.0), bps(2.5e12)], ["10.0 Gbps", "100 kbps", "2.50 Tbps"]);
        assert_eq!([bytes(999), bytes(1_500), bytes(u64::MAX)], ["999 B", "1.50 kB", "18447 PB"]);
        assert_eq!([metric("udp_pps", 5.0), metric("total_bps", 5e6)], ["5 pps", "5.00 Mbps"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(0.9876), "98.8 %");
    }

    #[test]
    fn times_and_ages() {
        let ago = |seconds: i64| age(1_000_000_000 - seconds * 1000, 1_000_000_000);
        let shown = [0, 59, 60, 3599, 3600, 90_000].map(ago);
        let expected = ["0 s ago", "59 s ago", "1 min 0 s ago", "59 min 59 s ago", "1 h 0 min ago", "1 d 1 h ago"];
        assert_eq!(shown, expected);
        assert_eq!(age(0, 5), "-");
        assert_eq!(age(7000, 5000), "0 s ago", "clocks differ");
        assert_eq!(time(1_795_295_013_123), "2026-11-21 21:03:33.123");
        assert_eq!(time(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn points_in_time_as_people_write_them() {
        let now_ms = 1_795_295_013_123;
        let read = |text: &str| point(text, now_ms).map(time);
        let expected = |text: &str| Some(text.to_owned());
        assert_eq!(read("2026-11-21"), expected("2026-11-21 00:00:00.000"));
        assert_eq!(read("2026-11-21 21:03"), expected("2026-11-21 21:03:00.000"));
        assert_eq!(read("2026-11-21T21:03:33.5"), expected("2026-11-21 21:03:33.500"));
        assert_eq!(read("2026-11-21T23:03:33+02:00"), expected("2026-11-21 21:03:33.000"));
        assert_eq!(read("90s"), expected("2026-11-21 21:02:03.123"));
        assert_eq!(read("3m"), expected("2026-11-21 21:00:33.123"));
        assert_eq!(read("12h"), expected("2026-11-21 09:03:33.123"));
        assert_eq!(read("7d"), expected("2026-11-14 21:03:33.123"));
        for wrong in ["", "d", "-5d", "7w", "yesterday", "2026-13-01", "21:00"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
