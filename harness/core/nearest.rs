//! The nearest good name to a mistyped one.

/// The candidate most like `word`, when one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_mended_and_nonsense_is_not() {
        assert_eq!(nearest("wnada", ["random", "wanda", "magnitude"]), Some("wanda"));
        assert_eq!(nearest("qqqq", ["random", "wanda"]), None);
    }
}
