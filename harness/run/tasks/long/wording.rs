//! What is said: needles, questions and answers of the tasks that hide something in a text.

use rand_chacha::ChaCha8Rng;

use super::words::{identifiers, keys, letters, numbers, percent};
use super::{Among, COUNT, Content, LongSelection, LongTask};

/// What repeats around a passkey.
const REFRAIN: [&str; 4] = [
    " Rain fell on the roofs of the town.",
    " A clock struck in the square.",
    " Nobody was in a hurry.",
    " One after the other the street lamps came on.",
];
/// Fewest tokens that a line or a needle takes, about: how many are made for a length.
const SHORTEST: usize = 6;

/// What stands around what is hidden.
pub(super) enum Around {
    /// Sentences of the selection's text.
    Text,
    /// The same sentences over and over.
    Refrain(&'static [&'static str]),
    /// Sentences that are needles of other things.
    Needles(Vec<String>),
    /// Lines, each with its end.
    Lines(Vec<String>),
}

/// One question in words.
pub(super) struct Wording {
    /// Said before the text.
    pub head: String,
    pub around: Around,
    /// What is hidden, at which depth, and whether the answer needs it.
    pub needles: Vec<(String, f64, bool)>,
    pub question: String,
    /// How the answer begins.
    pub begun: String,
    /// How it goes on where it is right.
    pub answer: String,
    pub golds: Vec<String>,
}

impl Wording {
    /// A question of a selection, drawn.
    pub fn of(selection: &LongSelection, rng: &mut ChaCha8Rng) -> Self {
        // Drawn in any case, so that numbers and words are the same at every depth.
        let drawn = percent(rng);
        let depth = selection.depth.unwrap_or(drawn);
        match selection.task {
            LongTask::Passkey => passkey(depth, rng),
            LongTask::Variables => variables(selection.count.unwrap_or(COUNT), rng),
            LongTask::Lines => lines(selection.length, depth, rng),
            LongTask::AlteredNumber | LongTask::FreeForm => article(selection.task, depth, rng),
            _ => needles(selection, depth, rng),
        }
    }
}

fn passkey(depth: f64, rng: &mut ChaCha8Rng) -> Wording {
    let code = numbers(rng, 1, 5).swap_remove(0);
    Wording {
        head: "The text below is about a town. A door code is given once in it; remember the code.".to_owned(),
        around: Around::Refrain(&REFRAIN),
        needles: vec![(format!(" The door code is {code}. Keep {code} in mind, it is the door code."), depth, true)],
        question: "\n\nWhich door code was given?".to_owned(),
        begun: " The door code is".to_owned(),
        answer: format!(" {code}"),
        golds: vec![code],
    }
}

/// `the amber lantern`.
fn thing([adjective, noun]: [&str; 2]) -> String {
    format!("the {adjective} {noun}")
}

/// `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [all @ .., before, last] => {
            all.iter().fold(String::new(), |text, part| text + part + ", ") + before + " and " + last
        }
        _ => parts.concat(),
    }
}

fn needles(selection: &LongSelection, depth: f64, rng: &mut ChaCha8Rng) -> Wording {
    let (task, count) = (selection.task, selection.count.unwrap_or(COUNT));
    let what = if selection.content == Content::Identifiers { "identifier" } else { "locker number" };
    let (things, values) = match task {
        LongTask::MultiKey | LongTask::MultiQuery => (count, 1),
        LongTask::MultiValue => (1, count),
        _ => (1, 1),
    };
    let others = if selection.among == Among::Needles { selection.length.div_ceil(SHORTEST) + 64 } else { 0 };
    let named = keys(rng, (things + others).min(super::words::ADJECTIVES.len() * super::words::NOUNS.len()));
    let named: Vec<String> = named.unwrap_or_default().into_iter().map(thing).collect();
    let all = things * values + named.len() - things;
    let told = match selection.content {
        Content::Numbers => numbers(rng, all, 7),
        Content::Identifiers => identifiers(rng, all),
    };
    let sentence = |thing: &str, told: &str| {
        if task == LongTask::MultiValue {
            format!(" One {what} of {thing} is {told}.")
        } else {
            format!(" The {what} of {thing} is {told}.")
        }
    };
    let (own, rest) = told.split_at(things * values);
    let mut placed: Vec<(String, f64, bool)> = Vec::new();
    for (at, value) in own.iter().enumerate() {
        // The first stands where it is asked for, the others anywhere.
        let elsewhere = percent(rng);
        let asked = task != LongTask::MultiKey || at == 0;
        placed.push((sentence(&named[at / values], value), if at == 0 { depth } else { elsewhere }, asked));
    }
    let around = match selection.among {
        Among::Text => Around::Text,
        Among::Needles => {
            Around::Needles(named[things..].iter().zip(rest).map(|(thing, told)| sentence(thing, told)).collect())
        }
    };
    let golds = if task == LongTask::MultiKey { own[..1].to_vec() } else { own.to_vec() };
    let (question, begun) = match task {
        LongTask::MultiValue => (
            format!("What are all {what}s of {}, as the text says?", named[0]),
            format!(" All {what}s of {} are", named[0]),
        ),
        LongTask::MultiQuery => {
            let asked = listed(&named[..things]);
            (format!("What are the {what}s of {asked}, as the text says?"), format!(" The {what}s of {asked} are"))
        }
        _ => (
            format!("What is the {what} of {}, as the text says?", named[0]),
            format!(" The {what} of {} is", named[0]),
        ),
    };
    Wording {
        head: format!("The text below gives a {what} now and then. You will be asked for one or more of them."),
        around,
        needles: placed,
        question: format!("\n\n{question}"),
        begun,
        answer: format!(" {}", listed(&golds)),
        golds,
    }
}

fn variables(steps: usize, rng: &mut ChaCha8Rng) -> Wording {
    let names = letters(rng, steps + 1, 5, b'A');
    let value = numbers(rng, 1, 5).swap_remove(0);
    let mut depths: Vec<f64> = names.iter().map(|_| percent(rng)).collect();
    depths.sort_by(f64::total_cmp);
    let statement = |at: usize| match at {
        0 => format!(" Box {} holds {value}.", names[0]),
        _ => format!(" Box {} holds what box {} holds.", names[at], names[at - 1]),
    };
    Wording {
        head: "The text below says now and then what a box holds. Some boxes hold what another one holds.".to_owned(),
        around: Around::Text,
        needles: depths.iter().enumerate().map(|(at, depth)| (statement(at), *depth, true)).collect(),
        question: format!("\n\nWhich {} boxes hold {value}, by the text?", names.len()),
        begun: format!(" The boxes that hold {value} are"),
        answer: format!(" {}", listed(&names)),
        golds: names,
    }
}

fn article(task: LongTask, depth: f64, rng: &mut ChaCha8Rng) -> Wording {
    let article = super::articles::article(task == LongTask::AlteredNumber, rng);
    Wording {
        head: "The text below holds a short article about a museum. You will be asked about it.".to_owned(),
        around: Around::Text,
        needles: vec![(article.text, depth, true)],
        question: format!("\n\n{}", article.question),
        begun: article.begun,
        answer: format!(" {}", article.answer),
        golds: vec![article.answer],
    }
}

fn lines(length: usize, depth: f64, rng: &mut ChaCha8Rng) -> Wording {
    let most = super::words::ADJECTIVES.len() * super::words::NOUNS.len();
    let count = (length.div_ceil(SHORTEST) + 64).min(most);
    let names: Vec<String> =
        keys(rng, count).unwrap_or_default().iter().map(|[adjective, noun]| format!("{adjective}-{noun}")).collect();
    let held = numbers(rng, count, 5);
    let line = |(name, number): (&String, &String)| format!("entry {name}: {number}\n");
    let mut all = names.iter().zip(&held).map(line);
    let asked = all.next().unwrap_or_default();
    Wording {
        head: "Every line below is an entry of a register with its number. You will be asked for one.\n".to_owned(),
        needles: vec![(asked, depth, true)],
        around: Around::Lines(all.collect()),
        question: format!("\nWhich number has entry {}?", names[0]),
        begun: format!(" The number of entry {} is", names[0]),
        answer: format!(" {}", held[0]),
        golds: vec![held[0].clone()],
    }
}
