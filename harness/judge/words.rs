//! Words as token ids, for metrics that count them and not a model's tokens.

use rustc_hash::FxHashMap;

/// The words of a text as DNA-GPT cuts them (without its stemming): lower case, runs of ASCII letters and digits.
pub fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Numbers words in order of first appearance over all texts: equal words have equal ids, and the second value is how
/// many there are.
pub fn intern<W: AsRef<str>>(texts: &[Vec<W>]) -> (Vec<Vec<u32>>, usize) {
    let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
    let mut numbered = Vec::with_capacity(texts.len());
    for text in texts {
        let mut row = Vec::with_capacity(text.len());
        for word in text {
            let next = ids.len() as u32;
            row.push(*ids.entry(word.as_ref()).or_insert(next));
        }
        numbered.push(row);
    }
    (numbered, ids.len())
}

#[cfg(test)]
mod tests {
    use super::{intern, words};

    #[test]
    fn words_are_cut_at_everything_else() {
        assert_eq!(words("Don't PANIC: 42."), ["don", "t", "panic", "42"]);
        let texts = [words("a b A"), words("c, b!")];
        assert_eq!(intern(&texts), (vec![vec![0, 1, 0], vec![2, 1]], 3));
    }
}
