//! Lists of words that are to be counted: the most common of a shuffled list, the most frequent under a Zeta law.

use rand_chacha::ChaCha8Rng;

use super::LongError;
use super::asking::{Asking, Frame};
use super::fit::{Item, Misfit, largest};
use super::words::{ADJECTIVES, NOUNS, letters, shuffled};

/// Words that are asked for in a list.
const COMMON: usize = 10;
/// From this length on lists are long.
const LONG: usize = 4096;

/// How often common and uncommon words stand in a list of a length.
pub(super) fn repeats(length: usize) -> (usize, usize) {
    if length < LONG { (6, 1) } else { (30, 3) }
}

/// How often each rank stands in a text of `words` words, of which a part is lost to rounding down: `words · k⁻² / ζ(2)`.
pub(super) fn zeta_counts(words: usize) -> Vec<usize> {
    let all = std::f64::consts::PI.powi(2) / 6.0;
    // Ranks from √words on stand less than once.
    let ranks = 1..=words.isqrt() + 1;
    let count = |rank: usize| (words as f64 / ((rank as f64).powi(2) * all)) as usize;
    ranks.map(count).take_while(|count| *count > 0).collect()
}

/// A list of words in an order of chance; the tokens of the words, joined as said.
fn item(frame: Frame, words: &[(Vec<u32>, usize)], rng: &mut ChaCha8Rng, answer: Vec<u32>, golds: Vec<String>) -> Item {
    let all: Vec<usize> =
        words.iter().enumerate().flat_map(|(at, (_, count))| std::iter::repeat_n(at, *count)).collect();
    let mut prompt = frame.head;
    prompt.extend(shuffled(rng, all.len()).into_iter().flat_map(|at| words[all[at]].0.iter().copied()));
    prompt.extend(frame.tail);
    Item { prompt, control: None, answer, golds, needle_kept: 1.0, words: None }
}

/// `Ok(Err(…))` where nothing fits.
type Fitted = Result<Result<Item, Misfit>, LongError>;

/// Ten words stand in a list more often than all others.
pub(super) fn common(asking: &Asking, length: usize, generation: usize, rng: &mut ChaCha8Rng) -> Fitted {
    let (often, seldom) = repeats(length);
    let order = shuffled(rng, NOUNS.len());
    let (common, rest) = order.split_at(COMMON);
    let common: Vec<String> = common.iter().map(|at| NOUNS[*at].to_owned()).collect();
    // Words alone first, then pairs of words none of which is common.
    let pairs = shuffled(rng, ADJECTIVES.len() * rest.len());
    let pairs = pairs.into_iter().map(|at| format!("{}-{}", ADJECTIVES[at / rest.len()], NOUNS[rest[at % rest.len()]]));
    let most = (length / seldom).min(rest.len() * (1 + ADJECTIVES.len()));
    let uncommon: Vec<String> = rest.iter().map(|at| NOUNS[*at].to_owned()).chain(pairs).take(most).collect();
    let begun = " The ten most common words are";
    let answer = asking.answer(begun, &format!(" {}", common.join(", ")), &common)?;
    let frame = asking.frame(
        "Some words stand in the list below more often than all others.",
        ",",
        "\n\nWhich ten words stand most often in the list?",
        begun,
    )?;
    let tokens = |word: &String| asking.behind(",", &format!(" {word},"));
    let mut words: Vec<(Vec<u32>, usize)> = Vec::new();
    for word in &common {
        words.push((tokens(word)?, often));
    }
    for word in &uncommon {
        words.push((tokens(word)?, seldom));
    }
    let fixed = frame.head.len() + frame.tail.len() + generation.max(answer.len());
    let size = |uncommon: usize| -> usize {
        fixed + words[..COMMON + uncommon].iter().map(|(tokens, count)| tokens.len() * count).sum::<usize>()
    };
    let Some(uncommon) = largest(words.len() - COMMON, |uncommon| size(uncommon) <= length) else {
        return Ok(Err(Misfit::Needle(size(1))));
    };
    words.truncate(COMMON + uncommon);
    Ok(Ok(item(frame, &words, rng, answer, common)))
}

/// Coded words whose numbers follow a Zeta law; those of rank 2 to 4 are asked for, the first is noise.
pub(super) fn frequent(asking: &Asking, length: usize, generation: usize, rng: &mut ChaCha8Rng) -> Fitted {
    let ranks = zeta_counts(length).len().max(5);
    let coded = letters(rng, ranks, 6, b'a');
    let golds = coded[1..4].to_vec();
    let begun = " The three most frequent coded words are";
    let answer = asking.answer(begun, &format!(" {}", golds.join(", ")), &golds)?;
    let frame = asking.frame(
        "Below stands a text of coded words. Three dots are noise and stand for no word.",
        ".",
        "\n\nWhich three coded words stand most often in the text?",
        begun,
    )?;
    let mut words = vec![asking.behind(".", " ...")?];
    for word in &coded[1..] {
        words.push(asking.behind(".", &format!(" {word}"))?);
    }
    let fixed = frame.head.len() + frame.tail.len() + generation.max(answer.len());
    let size = |counts: &[usize]| -> usize {
        fixed + words.iter().zip(counts).map(|(tokens, count)| tokens.len() * count).sum::<usize>()
    };
    // The fourth word has to be told from the fifth.
    let told = |counts: &[usize]| counts.len() > 3 && counts[3] > counts.get(4).copied().unwrap_or(0);
    let fitting = largest(length, |words| size(&zeta_counts(words)) <= length).unwrap_or(0);
    let Some(counts) = (1..=fitting).rev().map(zeta_counts).find(|counts| told(counts)) else {
        return Ok(Err(Misfit::Needle(size(&zeta_counts(27)))));
    };
    let words: Vec<(Vec<u32>, usize)> = words.into_iter().zip(counts).collect();
    Ok(Ok(item(frame, &words, rng, answer, golds)))
}
