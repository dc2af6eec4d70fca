//! Words and numbers that needles and lists are made of, and draws of them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

pub(super) const ADJECTIVES: [&str; 64] = [
    "amber", "ancient", "bitter", "blue", "brass", "brave", "bright", "broken", "calm", "clever", "coral", "crimson",
    "crooked", "damp", "distant", "dusty", "eager", "empty", "faded", "fearless", "foreign", "frozen", "gentle",
    "golden", "green", "grey", "heavy", "hidden", "hollow", "honest", "humble", "ivory", "jolly", "kind", "lively",
    "lonely", "marble", "mellow", "misty", "modest", "narrow", "noble", "orange", "patient", "plain", "polite",
    "proud", "purple", "quiet", "rapid", "rusty", "scarlet", "sharp", "silent", "silver", "smooth", "stubborn",
    "sturdy", "sudden", "tidy", "velvet", "violet", "wooden", "yellow",
];

pub(super) const NOUNS: [&str; 128] = [
    "acorn", "anchor", "apron", "bobbin", "badge", "banjo", "barrel", "basket", "beacon", "bottle", "bridge", "bucket",
    "button", "cabinet", "camera", "candle", "canoe", "carpet", "castle", "chimney", "circle", "clarinet", "compass",
    "copper", "cradle", "crystal", "curtain", "diamond", "drum", "engine", "falcon", "feather", "fiddle", "flute",
    "fountain", "funnel", "garden", "gate", "glove", "goblet", "guitar", "hammer", "harbour", "helmet", "hinge",
    "island", "jacket", "jewel", "jug", "kettle", "kite", "knife", "ladder", "lagoon", "lantern", "lemon", "letter",
    "locket", "magnet", "mallet", "mantle", "meadow", "medal", "mirror", "mitten", "monument", "muffin", "needle",
    "notebook", "oak", "oven", "oyster", "paddle", "palace", "parcel", "pebble", "pencil", "pepper", "piano", "pillow",
    "pipe", "planet", "pocket", "puzzle", "quarry", "quilt", "rabbit", "raft", "ribbon", "river", "rocket", "saddle",
    "sandal", "satchel", "saucer", "scissors", "shovel", "sickle", "spoon", "stable", "statue", "stove", "sundial",
    "trellis", "teapot", "temple", "thimble", "thunder", "ticket", "timber", "tower", "trumpet", "tulip", "tunnel",
    "turtle", "umbrella", "valley", "vessel", "village", "violin", "wagon", "walnut", "whistle", "willow", "window",
    "wreath", "yacht", "zipper",
];

/// A whole number below `count`, each as likely.
pub(super) fn below(rng: &mut ChaCha8Rng, count: usize) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}

/// A place in a text, 0 to 100.
pub(super) fn percent(rng: &mut ChaCha8Rng) -> f64 {
    100.0 * (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The whole numbers below `count` in an order of chance (Fisher and Yates).
pub(super) fn shuffled(rng: &mut ChaCha8Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(rng, last + 1));
    }
    order
}

/// Two words for each of `count` things, no two alike; `None` where there are not so many.
pub(super) fn keys(rng: &mut ChaCha8Rng, count: usize) -> Option<Vec<[&'static str; 2]>> {
    let all = ADJECTIVES.len() * NOUNS.len();
    let pair = |at: usize| [ADJECTIVES[at / NOUNS.len()], NOUNS[at % NOUNS.len()]];
    (count <= all).then(|| shuffled(rng, all).into_iter().take(count).map(pair).collect())
}

/// Different numbers of some digits, none of which begins with 0.
pub(super) fn numbers(rng: &mut ChaCha8Rng, count: usize, digits: u32) -> Vec<String> {
    let lowest = 10_usize.pow(digits - 1);
    distinct(count, || (lowest + below(rng, 9 * lowest)).to_string())
}

/// Different identifiers of 32 hexadecimal digits in five groups.
pub(super) fn identifiers(rng: &mut ChaCha8Rng, count: usize) -> Vec<String> {
    let mut digits =
        |length: usize| (0..length).map(|_| char::from(b"0123456789abcdef"[below(rng, 16)])).collect::<String>();
    distinct(count, || [8, 4, 4, 4, 12].map(&mut digits).join("-"))
}

/// Different words of `length` letters from `first` on in the alphabet.
pub(super) fn letters(rng: &mut ChaCha8Rng, count: usize, length: usize, first: u8) -> Vec<String> {
    distinct(count, || (0..length).map(|_| char::from(first + below(rng, 26) as u8)).collect())
}

/// Things of which the caller has many more than are wanted, each once.
fn distinct(count: usize, mut draw: impl FnMut() -> String) -> Vec<String> {
    let mut found: Vec<String> = Vec::with_capacity(count);
    let mut seen = std::collections::HashSet::new();
    while found.len() < count {
        let next = draw();
        if seen.insert(next.clone()) {
            found.push(next);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use harness_core::seed::stream;

    use super::*;

    /// Answers are looked for in texts: no word may be found in another.
    #[test]
    fn no_word_stands_in_another() {
        let all: Vec<&str> = ADJECTIVES.into_iter().chain(NOUNS).collect();
        for word in &all {
            assert_eq!(all.iter().filter(|other| other.contains(word)).count(), 1, "{word}");
        }
    }

    #[test]
    fn draws_are_distinct_and_in_their_range() {
        let mut rng = stream(3, &["words"]);
        let pairs = keys(&mut rng, 8192).unwrap();
        assert_eq!(pairs.into_iter().collect::<HashSet<_>>().len(), 8192);
        assert!(keys(&mut rng, 8193).is_none());
        let drawn = numbers(&mut rng, 500, 3);
        assert!(drawn.iter().all(|number| number.len() == 3 && !number.starts_with('0')));
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 500);
        assert!(identifiers(&mut rng, 9).iter().all(|text| text.len() == 36 && text.split('-').count() == 5));
        assert!(letters(&mut rng, 9, 5, b'A').iter().all(|word| word.len() == 5 && *word == word.to_uppercase()));
        let mut order = shuffled(&mut rng, 100);
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!((0..1000).all(|_| (0.0..100.0).contains(&percent(&mut rng))));
    }
}
