//! The grammar: places in a sentence and the moves between them.

use crate::Parameters;
use crate::emission::Slot;

/// A place in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum State {
    Begin,
    End,
    Paragraph,
    SubjectDeterminer,
    SubjectAdjective,
    SubjectNoun,
    SubjectRole,
    SubjectRoleName,
    SubjectCast,
    Verb,
    Numeral,
    ObjectDeterminer,
    ObjectAdjective,
    ObjectNoun,
    ObjectRole,
    ObjectRoleName,
    ObjectCast,
    Preposition,
    PlaceDeterminer,
    PlaceNoun,
    Adverb,
    Comma,
    Conjunction,
    Stop,
}

/// Number of places.
pub(crate) const STATES: usize = 24;

impl State {
    pub(crate) const ALL: [Self; STATES] = [
        Self::Begin,
        Self::End,
        Self::Paragraph,
        Self::SubjectDeterminer,
        Self::SubjectAdjective,
        Self::SubjectNoun,
        Self::SubjectRole,
        Self::SubjectRoleName,
        Self::SubjectCast,
        Self::Verb,
        Self::Numeral,
        Self::ObjectDeterminer,
        Self::ObjectAdjective,
        Self::ObjectNoun,
        Self::ObjectRole,
        Self::ObjectRoleName,
        Self::ObjectCast,
        Self::Preposition,
        Self::PlaceDeterminer,
        Self::PlaceNoun,
        Self::Adverb,
        Self::Comma,
        Self::Conjunction,
        Self::Stop,
    ];

    /// What is said here.
    pub(crate) fn slot(self) -> Slot {
        match self {
            Self::Begin => Slot::Begin,
            Self::End => Slot::End,
            Self::Paragraph => Slot::Paragraph,
            Self::SubjectDeterminer => Slot::SubjectDeterminer,
            Self::ObjectDeterminer => Slot::ObjectDeterminer,
            Self::PlaceDeterminer => Slot::PlaceDeterminer,
            Self::SubjectAdjective | Self::ObjectAdjective => Slot::Adjective,
            Self::SubjectNoun => Slot::SubjectNoun,
            Self::ObjectNoun => Slot::ObjectNoun,
            Self::PlaceNoun => Slot::PlaceNoun,
            Self::SubjectRole | Self::ObjectRole => Slot::Role,
            Self::SubjectRoleName | Self::ObjectRoleName => Slot::RoleName,
            Self::SubjectCast | Self::ObjectCast => Slot::Cast,
            Self::Verb => Slot::Verb,
            Self::Numeral => Slot::Numeral,
            Self::Preposition => Slot::Preposition,
            Self::Adverb => Slot::Adverb,
            Self::Comma => Slot::Comma,
            Self::Conjunction => Slot::Conjunction,
            Self::Stop => Slot::Stop,
        }
    }
}

/// What a move does to the hidden topic and frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Both stay.
    Keep,
    /// A new clause: a new frame of the same topic.
    Frame,
    /// A new paragraph: perhaps a new topic, and a new frame.
    Topic,
    /// A new document: topic and frame are drawn afresh.
    Document,
}

/// The moves out of one place, grouped by what they do to topic and frame.
#[derive(Debug, Clone)]
pub(crate) struct Moves {
    pub(crate) renewal: Vec<(Renewal, Vec<(State, f64)>)>,
}

/// The moves of the grammar; they do not depend on topic, frame or words.
#[derive(Debug, Clone)]
pub(crate) struct Grammar {
    moves: Vec<Moves>,
}

impl Grammar {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self { moves: State::ALL.iter().map(|&state| moves(state, parameters)).collect() }
    }

    /// The moves out of a place; their probabilities sum to one.
    pub(crate) fn moves(&self, state: State) -> &Moves {
        &self.moves[state as usize]
    }

    /// Share of stream positions spent in each place, by power iteration.
    pub(crate) fn stationary(&self) -> [f64; STATES] {
        let mut share = [1.0 / STATES as f64; STATES];
        // Documents mix slowest: their begin mark returns once in a document, and every return forgets the past.
        for _ in 0..200_000 {
            let mut next = [0.0; STATES];
            for (&from, &mass) in State::ALL.iter().zip(&share) {
                for (_, targets) in &self.moves(from).renewal {
                    for &(to, probability) in targets {
                        next[to as usize] += mass * probability;
                    }
                }
            }
            let change: f64 = next.iter().zip(&share).map(|(a, b)| (a - b).abs()).sum();
            share = next;
            if change < 1e-15 {
                break;
            }
        }
        let total: f64 = share.iter().sum();
        share.map(|value| value / total)
    }
}

/// Mentions of a role for each name standing alone, the same for subjects and objects: a name at the very start of a
/// cut then says nothing about the place it stands at, which keeps the recursion over cuts exact.
pub(crate) const ROLES_PER_CAST: f64 = 1.8;

/// The openings of a clause.
const OPENINGS: [(State, f64); 3] =
    [(State::SubjectDeterminer, 0.30), (State::SubjectRole, 0.45), (State::SubjectCast, 0.25)];

fn moves(state: State, parameters: &Parameters) -> Moves {
    use State as S;
    let opening = |share: f64| OPENINGS.iter().map(|&(to, p)| (to, p * share)).collect::<Vec<_>>();
    let keep = |targets: &[(State, f64)]| vec![(Renewal::Keep, targets.to_vec())];
    let renewal = match state {
        S::Begin => vec![(Renewal::Document, opening(1.0))],
        S::End => keep(&[(S::Begin, 1.0)]),
        S::Paragraph => vec![
            (Renewal::Keep, vec![(S::End, parameters.document_end)]),
            (Renewal::Topic, opening(1.0 - parameters.document_end)),
        ],
        S::SubjectDeterminer => keep(&[(S::SubjectAdjective, 0.35), (S::SubjectNoun, 0.65)]),
        S::SubjectAdjective => keep(&[(S::SubjectAdjective, 0.1), (S::SubjectNoun, 0.9)]),
        S::SubjectRole => keep(&[(S::SubjectRoleName, 1.0)]),
        S::SubjectNoun | S::SubjectRoleName | S::SubjectCast => keep(&[(S::Verb, 1.0)]),
        S::Verb => keep(&[
            (S::ObjectDeterminer, 0.28),
            (S::ObjectRole, 0.216),
            (S::ObjectCast, 0.12),
            (S::Numeral, 0.08),
            (S::Preposition, 0.16),
            (S::Adverb, 0.10),
            (S::Stop, 0.044),
        ]),
        S::Numeral => keep(&[(S::ObjectNoun, 1.0)]),
        S::ObjectDeterminer => keep(&[(S::ObjectAdjective, 0.3), (S::ObjectNoun, 0.7)]),
        S::ObjectAdjective => keep(&[(S::ObjectAdjective, 0.1), (S::ObjectNoun, 0.9)]),
        S::ObjectRole => keep(&[(S::ObjectRoleName, 1.0)]),
        S::ObjectNoun | S::ObjectRoleName | S::ObjectCast => {
            keep(&[(S::Preposition, 0.30), (S::Adverb, 0.10), (S::Comma, 0.18), (S::Stop, 0.42)])
        }
        S::Preposition => keep(&[(S::PlaceDeterminer, 1.0)]),
        S::PlaceDeterminer => keep(&[(S::PlaceNoun, 1.0)]),
        S::PlaceNoun => keep(&[(S::Adverb, 0.10), (S::Comma, 0.22), (S::Stop, 0.68)]),
        S::Adverb => keep(&[(S::Preposition, 0.20), (S::Comma, 0.20), (S::Stop, 0.60)]),
        S::Comma => keep(&[(S::Conjunction, 1.0)]),
        S::Conjunction => vec![(Renewal::Frame, opening(1.0))],
        S::Stop => vec![
            (Renewal::Keep, vec![(S::Paragraph, parameters.paragraph_end)]),
            (Renewal::Frame, opening(1.0 - parameters.paragraph_end)),
        ],
    };
    Moves { renewal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::fables;

    #[test]
    fn moves_out_of_every_place_sum_to_one() {
        let (dataset, _) = fables();
        let grammar = Grammar::new(&dataset.language);
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
            let total: f64 =
                grammar.moves(state).renewal.iter().flat_map(|(_, targets)| targets).map(|&(_, p)| p).sum();
            assert!((total - 1.0).abs() < 1e-12, "{state:?} {total}");
        }
    }

    #[test]
    fn roles_and_cast_keep_their_ratio_as_subject_and_object() {
        let (dataset, _) = fables();
        let share = Grammar::new(&dataset.language).stationary();
        for (role, cast) in [(State::SubjectRoleName, State::SubjectCast), (State::ObjectRoleName, State::ObjectCast)] {
            assert!((share[role as usize] / share[cast as usize] - ROLES_PER_CAST).abs() < 1e-9);
        }
    }

    #[test]
    fn the_stationary_shares_are_a_fixed_point() {
        let (dataset, _) = fables();
        let grammar = Grammar::new(&dataset.language);
        let share = grammar.stationary();
        assert!((share.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Every document has one begin and one end mark, and 1 / document_end paragraphs on average.
        let (begin, end) = (share[State::Begin as usize], share[State::End as usize]);
        assert!((begin - end).abs() < 1e-12);
        assert!((share[State::Paragraph as usize] / end - 1.0 / dataset.language.document_end).abs() < 1e-9);
    }
}
