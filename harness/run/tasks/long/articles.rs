//! A short article among other text, and a question about it: a number in it, or a name.
//!
//! Source: FreeFormQA and AlteredNumericQA of Giraffe (Pal et al. 2023): the answer stands near the beginning, in the middle or near the
//! end of a document; numbers are altered wherever they stand, so that no model can know them from elsewhere.
//!
//! # Difference from the reference
//! Articles are made here, of houses that never were, instead of taken from an encyclopaedia, and numbers are altered by its rule
//! all the same. The answer counts where it stands anywhere in what is written, as there.

use rand_chacha::ChaCha8Rng;

use super::words::{ADJECTIVES, NOUNS, below, keys};

const FIRST: [&str; 16] = [
    "Ada", "Boris", "Clara", "Dario", "Edith", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Leon", "Maria",
    "Nils", "Olga", "Piet",
];
const LAST: [&str; 16] = [
    "Abel",
    "Brandt",
    "Costa",
    "Dahl",
    "Ekman",
    "Fabri",
    "Gruber",
    "Holm",
    "Ivers",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Moretti",
    "Novak",
    "Olsen",
    "Petit",
];

/// None of these stands in the sentences that are made around an article.
const MATERIALS: [&str; 16] = [
    "porcelain",
    "granite",
    "bamboo",
    "leather",
    "cotton",
    "pewter",
    "ebony",
    "quartz",
    "felt",
    "slate",
    "wicker",
    "bronze",
    "enamel",
    "linen",
    "cedar",
    "wax",
];
const COLLECTED: [&str; 16] = [
    "clocks", "maps", "bells", "toys", "masks", "coins", "boots", "stamps", "tiles", "tools", "looms", "dolls",
    "shells", "globes", "ropes", "hats",
];

/// An article, a question about it, and the answer.
pub(super) struct Article {
    /// Sentences, each with a space before it.
    pub text: String,
    pub question: String,
    /// How the answer begins.
    pub begun: String,
    pub answer: String,
}

/// A number in place of another, by the rule of the source: years move by up to ten, other numbers keep their digits; never the same.
pub(super) fn alter(number: usize, rng: &mut ChaCha8Rng) -> usize {
    let lowest = if number < 10 { 0 } else { 10_usize.pow(number.ilog10()) };
    loop {
        let other = if (1000..=2100).contains(&number) {
            number - 10 + below(rng, 21)
        } else if number < 10 {
            below(rng, 10)
        } else {
            lowest + below(rng, 9 * lowest)
        };
        if other != number {
            return other;
        }
    }
}

/// An article with a question whose answer is a number, or a name.
pub(super) fn article(numeric: bool, rng: &mut ChaCha8Rng) -> Article {
    let of = |words: &[&'static str], rng: &mut ChaCha8Rng| words[below(rng, words.len())];
    let house = keys(rng, 1).unwrap_or_default().first().copied().unwrap_or([ADJECTIVES[0], NOUNS[0]]);
    let house = format!("House of the {} {}", capital(house[0]), capital(house[1]));
    let director = format!("{} {}", of(&FIRST, rng), of(&LAST, rng));
    let piece = format!("{} {}", of(&MATERIALS, rng), of(&NOUNS, rng));
    let things = of(&COLLECTED, rng);
    let opened = alter(1700 + below(rng, 250), rng);
    let visitors = alter(10_000 + below(rng, 90_000), rng);
    let rooms = alter(12 + below(rng, 80), rng);
    let text = format!(
        " The {house} is a museum of {things}. It opened in {opened}, and its first director was {director}. \
         People come to see its {piece}, the piece it is best known for. Since {opened} it has grown to {rooms} rooms. \
         In its last year it counted {visitors} visitors, and {director} would not have believed that {visitors} people \
         could walk through {rooms} rooms."
    );
    let (question, begun, answer) = match (numeric, below(rng, 3)) {
        (true, 0) => ("In which year did the {} open?", "It opened in", opened.to_string()),
        (true, 1) => ("How many rooms has the {}?", "The number of its rooms is", rooms.to_string()),
        (true, _) => ("How many visitors did the {} count?", "It counted", visitors.to_string()),
        (false, 0) => ("Who was the first director of the {}?", "Its first director was", director),
        (false, 1) => ("Which piece is the {} best known for?", "It is best known for its", piece),
        (false, _) => ("What is the {} a museum of?", "It is a museum of", things.to_owned()),
    };
    Article { text, question: question.replace("{}", &house), begun: format!(" {begun}"), answer }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

#[cfg(test)]
mod tests {
    use harness_core::seed::stream;

    use super::*;

    #[test]
    fn numbers_are_altered_by_the_rule() {
        let mut rng = stream(1, &["altered"]);
        for _ in 0..2000 {
            let year = 1000 + below(&mut rng, 1101);
            let altered = alter(year, &mut rng);
            assert!(altered != year && altered.abs_diff(year) <= 10, "{year} {altered}");
            let number = [7, 42, 512, 48_213, 3_000_000][below(&mut rng, 5)];
            let altered = alter(number, &mut rng);
            assert!(altered != number && altered.to_string().len() == number.to_string().len(), "{number} {altered}");
        }
    }

    #[test]
    fn articles_tell_what_is_asked_and_say_a_number_wherever_it_stands() {
        let mut rng = stream(1, &["articles"]);
        for turn in 0..200 {
            let article = article(turn % 2 == 0, &mut rng);
            assert!(article.text.contains(&article.answer), "{} {}", article.text, article.answer);
            assert!(!article.question.contains("{}") && !article.question.contains(&article.answer));
            if turn % 2 == 0 {
                let numbers = article.text.split(|letter: char| !letter.is_ascii_digit());
                assert_eq!(numbers.filter(|number| *number == article.answer).count(), 2, "{}", article.text);
            }
        }
    }
}
