//! Questions that come with the documents that answer them, in the two formats that RULER's question answering reads.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::LongError;
use crate::inputs::hash_texts;

/// Bytes of a file at most.
const LARGEST: u64 = 512 << 20;

/// Documents, and questions about them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Library {
    pub name: String,
    pub documents: Vec<String>,
    pub questions: Vec<Question>,
}

/// A question. Documents by their number in the library.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub text: String,
    /// Answers, of which any is right.
    pub answers: Vec<String>,
    /// What the answer stands in.
    pub needed: Vec<usize>,
    /// What always stands beside it, to mislead.
    pub beside: Vec<usize>,
    /// What comes before documents of chance, being about the same thing.
    pub kin: Vec<usize>,
}

/// SQuAD: paragraphs of articles, each with questions whose answers are pieces of it, or that have none.
#[derive(Deserialize)]
struct Squad {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    answers: Vec<Answer>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

/// HotpotQA: a question, its answer, ten paragraphs with their titles, and which of these the answer follows from.
#[derive(Deserialize)]
struct Hop {
    question: String,
    answer: String,
    #[serde(default)]
    supporting_facts: Vec<(String, IgnoredAny)>,
    context: Vec<(String, Vec<String>)>,
}

#[derive(Default)]
struct Shelf {
    documents: Vec<String>,
    places: HashMap<String, usize>,
}

impl Shelf {
    /// The number of a document, each of which stands here once.
    fn place(&mut self, document: String) -> usize {
        let Self { documents, places } = self;
        *places.entry(document).or_insert_with_key(|document| {
            documents.push(document.clone());
            documents.len() - 1
        })
    }
}

impl Library {
    /// Reads a file: SQuAD's object, or HotpotQA's list.
    ///
    /// # Errors
    /// [`LongError::Questions`].
    pub fn read(path: &Path, name: &str) -> Result<Self, LongError> {
        let wrong = |reason: String| LongError::Questions { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > LARGEST {
            return Err(wrong(format!("it has {size} bytes, and {LARGEST} are the most that are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let (documents, questions) = parsed(&text).map_err(wrong)?;
        let name = format!("{name}@{}", &hash_texts([text.as_str()])[..12]);
        Ok(Self { name, documents, questions })
    }
}

/// Documents and questions of a file's text.
fn parsed(text: &str) -> Result<(Vec<String>, Vec<Question>), String> {
    let format = |error: serde_json::Error| {
        format!("{error}; it should be SQuAD's object with `data`, or HotpotQA's list of questions with `context`")
    };
    let mut shelf = Shelf::default();
    let questions = if text.trim_start().starts_with('[') {
        let hops: Vec<Hop> = serde_json::from_str(text).map_err(format)?;
        hops.into_iter().map(|hop| hopped(hop, &mut shelf)).collect()
    } else {
        let squad: Squad = serde_json::from_str(text).map_err(format)?;
        squad.data.into_iter().flat_map(|article| about(article, &mut shelf)).collect::<Vec<_>>()
    };
    // Nothing is right for a question without an answer, or whose documents are not there.
    let asked = |question: &Question| {
        !question.needed.is_empty() && !question.answers.is_empty() && !question.text.trim().is_empty()
    };
    let questions: Vec<Question> = questions.into_iter().filter(asked).collect();
    if questions.is_empty() {
        return Err("it holds no question with an answer and its document".to_owned());
    }
    Ok((shelf.documents, questions))
}

fn answers(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts.map(|text| text.trim().to_owned()) {
        if !text.is_empty() && !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn hopped(hop: Hop, shelf: &mut Shelf) -> Question {
    let (mut needed, mut beside) = (Vec::new(), Vec::new());
    for (title, sentences) in hop.context {
        let supports = hop.supporting_facts.iter().any(|(supporting, _)| *supporting == title);
        let place = shelf.place(format!("{title}\n{}", sentences.concat()));
        if supports { needed.push(place) } else { beside.push(place) }
    }
    Question { text: hop.question, answers: answers(std::iter::once(hop.answer)), needed, beside, kin: Vec::new() }
}

fn about(article: Article, shelf: &mut Shelf) -> Vec<Question> {
    let places: Vec<usize> =
        article.paragraphs.iter().map(|paragraph| shelf.place(paragraph.context.clone())).collect();
    let asked = |(own, paragraph): (&usize, Paragraph)| {
        let own = *own;
        let kin: Vec<usize> = places.iter().copied().filter(|place| *place != own).collect();
        let answered = paragraph.qas.into_iter().filter(|asked| !asked.is_impossible);
        let question = move |asked: Asked| Question {
            text: asked.question,
            answers: answers(asked.answers.into_iter().map(|answer| answer.text)),
            needed: vec![own],
            beside: Vec::new(),
            kin: kin.clone(),
        };
        answered.map(question).collect::<Vec<_>>()
    };
    places.iter().zip(article.paragraphs).flat_map(asked).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn squad_s_questions_have_their_paragraph_and_those_of_its_article() {
        let text = r#"{"version": "v2.0", "data": [
            {"title": "Mills", "paragraphs": [
                {"context": "The mill stood in Ghent.", "qas": [
                    {"id": "1", "question": "Where?", "answers": [{"text": "Ghent", "answer_start": 18}, {"text": "Ghent"}, {"text": "in Ghent"}]},
                    {"id": "2", "question": "When?", "answers": [], "is_impossible": true}]},
                {"context": "It burned down.", "qas": []}]},
            {"title": "Seas", "paragraphs": [{"context": "Seas are wide.", "qas": [{"question": "Are they?", "answers": [{"text": "wide"}]}]}]}]}"#;
        let (documents, questions) = parsed(text).unwrap();
        assert_eq!(documents, ["The mill stood in Ghent.", "It burned down.", "Seas are wide."]);
        assert_eq!(questions.len(), 2, "what has no answer is not asked");
        assert_eq!(questions[0].answers, ["Ghent", "in Ghent"]);
        assert_eq!((&questions[0].needed[..], &questions[0].kin[..]), (&[0][..], &[1][..]));
        assert_eq!((&questions[1].needed[..], questions[1].kin.len()), (&[2][..], 0));
    }

    #[test]
    fn hops_need_what_supports_them_and_stand_among_the_others() {
        let text = r#" [{"_id": "x", "answer": "yes", "question": "Same?", "supporting_facts": [["A", 0], ["C", 1], ["C", 0]],
            "context": [["A", ["One.", " Two."]], ["B", ["Three."]], ["C", ["Four."]]]},
            {"answer": "no", "question": "Where?", "supporting_facts": [["Z", 0]], "context": [["B", ["Three."]]]}]"#;
        let (documents, questions) = parsed(text).unwrap();
        assert_eq!(documents, ["A\nOne. Two.", "B\nThree.", "C\nFour."]);
        assert_eq!(questions.len(), 1, "a question whose document is missing is not asked");
        assert_eq!((&questions[0].needed[..], &questions[0].beside[..]), (&[0, 2][..], &[1][..]));
    }

    #[test]
    fn other_files_are_refused_with_what_they_should_be() {
        for text in ["", "{}", "[1]", r#"{"data": [{"paragraphs": [{"context": 3}]}]}"#, "[[[[[[", "\u{0}"] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains("SQuAD") && error.contains("line 1"), "{error}");
        }
        for text in [r#"{"data": []}"#, "[]"] {
            assert!(parsed(text).unwrap_err().contains("no question"));
        }
        let missing = Library::read(Path::new("/nowhere/squad.json"), "x").unwrap_err().to_string();
        assert!(missing.contains("/nowhere/squad.json"), "{missing}");
    }
}
