//! When the nights were: gaps, and clocks that went backwards. Neither changes their order.

use super::Entry;
use crate::time::unix_seconds;

/// A gap this many times the usual distance of two nights is worth a word.
const GAP: f64 = 1.75;

/// What there is to say of the clocks of some nights.
pub(super) fn notes(entries: &[Entry]) -> Vec<String> {
    let times: Vec<Option<f64>> = entries.iter().map(|entry| unix_seconds(&entry.started)).collect();
    let mut steps: Vec<f64> =
        times.windows(2).filter_map(|pair| Some(pair[1]? - pair[0]?)).filter(|step| *step > 0.0).collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let mut notes = Vec::new();
    let mut missing = 0;
    for (pair, times) in entries.windows(2).zip(times.windows(2)) {
        let (Some(before), Some(after)) = (times[0], times[1]) else { continue };
        let step = after - before;
        if step < 0.0 {
            notes.push(format!(
                "the clock went backwards: {} began {} before {}, which arrived earlier; nights stand in order of arrival",
                pair[1].run,
                spell(-step),
                pair[0].run
            ));
        } else if steps.len() >= 3 && step > GAP * usual {
            missing += (step / usual).round() as i64 - 1;
        }
    }
    if missing > 0 {
        notes.push(format!("about {missing} nights are missing: nothing was recorded in them"));
    }
    let unknown = times.iter().filter(|time| time.is_none()).count();
    if unknown > 0 {
        notes.push(format!("{unknown} nights do not say when they were"));
    }
    notes
}

fn spell(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night(run: &str, started: &str) -> Entry {
        Entry { run: run.into(), started: started.into(), ..Entry::default() }
    }

    #[test]
    fn gaps_and_clocks_are_said() {
        let mut nights: Vec<Entry> =
            (1..=9).map(|day| night(&format!("n{day}"), &format!("2026-03-0{day}T03:00:00Z"))).collect();
        assert_eq!(notes(&nights), Vec::<String>::new());
        nights.remove(4);
        nights.remove(4);
        assert_eq!(notes(&nights), ["about 2 nights are missing: nothing was recorded in them"]);
        nights.push(night("late", "2026-03-09T01:00:00Z"));
        let said = notes(&nights);
        assert!(said[0].starts_with("the clock went backwards: late began 2 h before n9"), "{said:?}");
        nights.push(night("blank", ""));
        assert_eq!(notes(&nights).last().map(String::as_str), Some("1 nights do not say when they were"));
    }
}
