//! Putting needles into so much text that prompt and answer have a given length, in tokens of the model.

/// Something that a model should find, and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Needle {
    pub tokens: Vec<u32>,
    /// Share of the text before it, in percent of tokens.
    pub depth: f64,
    /// Whether the answer needs it: where the control has other text.
    pub asked: bool,
}

/// A prompt whose text is not cut to length yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Draft {
    /// What stands before the text.
    pub head: Vec<u32>,
    /// Sentences or lines of the text, each whole, more than are needed.
    pub filler: Vec<Vec<u32>>,
    pub needles: Vec<Needle>,
    /// The question and the beginning of the answer.
    pub tail: Vec<u32>,
    /// The answer as it should go on.
    pub answer: Vec<u32>,
    /// What is looked for in what is written.
    pub golds: Vec<String>,
}

/// One question behind a long text, ready for a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub prompt: Vec<u32>,
    /// The same prompt with other text of the same length in place of what the answer needs; `None` where that cannot be taken
    /// out.
    pub control: Option<Vec<u32>>,
    pub answer: Vec<u32>,
    pub golds: Vec<String>,
    /// Share of the tokens the answer needs that the prompt holds: less than 1 where the text was cut.
    pub needle_kept: f64,
    /// Words of the text that is asked for, where that is what counts.
    pub words: Option<usize>,
}

/// A prompt whose text has its length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted<'a> {
    draft: &'a Draft,
    /// Sentences of the text, needles among them.
    pub units: Vec<Vec<u32>>,
    /// The same with other text in place of what the answer needs, where there is as much.
    control: Option<Vec<Vec<u32>>>,
    /// Whether the answer needs a sentence.
    asked: Vec<bool>,
}

impl Fitted<'_> {
    /// The question, as it stands behind the text.
    pub fn question(&self) -> &[u32] {
        &self.draft.tail
    }

    /// The prompt with all of its text.
    pub fn whole(&self) -> Item {
        self.cut(&vec![true; self.units.iter().map(Vec::len).sum()])
    }

    /// The prompt with some tokens of its text, control and prompt cut at the same places.
    pub fn cut(&self, kept: &[bool]) -> Item {
        let draft = self.draft;
        let framed = |units: &[Vec<u32>]| {
            let left = units.iter().flatten().zip(kept).filter(|(_, kept)| **kept).map(|(token, _)| *token);
            draft.head.iter().copied().chain(left).chain(draft.tail.iter().copied()).collect::<Vec<u32>>()
        };
        let asked =
            self.units.iter().zip(&self.asked).flat_map(|(unit, asked)| std::iter::repeat_n(*asked, unit.len()));
        let held = asked.zip(kept).filter(|(asked, _)| *asked).map(|(_, kept)| f64::from(*kept));
        let (held, needed) = held.fold((0.0, 0.0), |(held, needed), kept| (held + kept, needed + 1.0));
        Item {
            prompt: framed(&self.units),
            control: self.control.as_deref().map(framed),
            answer: draft.answer.clone(),
            golds: draft.golds.clone(),
            needle_kept: if needed == 0.0 { 1.0 } else { held / needed },
            words: None,
        }
    }
}

/// Why a prompt has no place in a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Question, needles and answer alone are longer: so many tokens.
    Needle(usize),
    /// There is too little text: so many tokens of so many.
    Filler { found: usize, wanted: usize },
}

/// Takes as many whole sentences as leave room for needles, question and an answer of `generation` tokens in `length`, and puts
/// every needle between two of them, nearest to its depth.
pub(super) fn fit(draft: &Draft, length: usize, generation: usize) -> Result<Fitted<'_>, Misfit> {
    let needles: usize = draft.needles.iter().map(|needle| needle.tokens.len()).sum();
    let fixed = draft.head.len() + needles + draft.tail.len() + generation.max(draft.answer.len());
    let room = length.checked_sub(fixed).ok_or(Misfit::Needle(fixed))?;
    let mut ends = vec![0];
    ends.extend(draft.filler.iter().scan(0, |end, unit| {
        *end += unit.len();
        Some(*end)
    }));
    let found = *ends.last().unwrap_or(&0);
    if found < room {
        return Err(Misfit::Filler { found, wanted: room });
    }
    let units = ends.partition_point(|end| *end <= room) - 1;
    ends.truncate(units + 1);
    let total = ends[units] as f64;
    let place = |needle: &Needle| {
        let wanted = needle.depth / 100.0 * total;
        let far = |at: &usize| (ends[*at] as f64 - wanted).abs();
        (0..=units).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
    };
    let mut placed: Vec<(usize, &Needle)> = draft.needles.iter().map(|needle| (place(needle), needle)).collect();
    placed.sort_by_key(|(at, _)| *at);
    // Text that the prompt does not have, as far as there is any.
    let mut spare = draft.filler[units..].iter().chain(&draft.filler[..units]).flatten().copied();
    let mut fitted = Fitted { draft, units: Vec::new(), control: None, asked: Vec::new() };
    let mut control: Vec<Vec<u32>> = Vec::new();
    let mut rest = placed.into_iter().peekable();
    for at in 0..=units {
        while let Some((_, needle)) = rest.next_if(|(place, _)| *place == at) {
            fitted.units.push(needle.tokens.clone());
            fitted.asked.push(needle.asked);
            control.push(if needle.asked {
                spare.by_ref().take(needle.tokens.len()).collect()
            } else {
                needle.tokens.clone()
            });
        }
        if at < units {
            fitted.units.push(draft.filler[at].clone());
            fitted.asked.push(false);
            control.push(draft.filler[at].clone());
        }
    }
    let as_long = control.iter().map(Vec::len).eq(fitted.units.iter().map(Vec::len));
    fitted.control = (as_long && control != fitted.units).then_some(control);
    Ok(fitted)
}

/// The largest number from 1 to `most` that fits, where all smaller ones do; `None` where 1 does not.
pub(super) fn largest(most: usize, mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, most + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low > 0).then_some(low)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn draft(depth: f64) -> Draft {
        let filler = (0..40).map(|unit| vec![100 + unit; 5]).collect();
        let needles = vec![
            Needle { tokens: vec![7, 8, 9], depth, asked: true },
            Needle { tokens: vec![4], depth: 50.0, asked: false },
        ];
        Draft { head: vec![1], filler, needles, tail: vec![2, 3], answer: vec![5], golds: vec!["5".to_owned()] }
    }

    #[test]
    fn needles_stand_whole_between_sentences() {
        // 30 − (1 + 4 + 2 + 2) = 21 tokens of room: four sentences of five.
        let item = |depth: f64| fit(&draft(depth), 30, 2).unwrap().whole();
        let first = item(0.0);
        assert_eq!(first.prompt[..5], [1, 7, 8, 9, 100]);
        assert_eq!(first.prompt[14], 4, "the other needle behind two sentences");
        assert_eq!((first.prompt.len(), &first.prompt[25..]), (27, &[2, 3][..]));
        let control = first.control.unwrap();
        assert_eq!(control[..5], [1, 104, 104, 104, 100], "text that the prompt does not have");
        assert_eq!(control[4..], first.prompt[4..]);
        let last = item(100.0);
        assert_eq!(last.prompt[22..], [7, 8, 9, 2, 3]);
        let near = item(30.0);
        assert_eq!(near.prompt[6..9], [7, 8, 9], "6 of 20 tokens is nearest to the end of the first sentence");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let draft = draft(0.0);
        assert_eq!(fit(&draft, 8, 2), Err(Misfit::Needle(9)));
        assert_eq!(fit(&draft, 9, 2).unwrap().whole().prompt.len(), 7, "no text at all");
        assert_eq!(fit(&draft, 400, 2), Err(Misfit::Filler { found: 200, wanted: 391 }));
        assert_eq!(
            (largest(100, |n| n <= 37), largest(100, |_| true), largest(9, |_| false)),
            (Some(37), Some(100), None)
        );
    }

    #[test]
    fn prompt_and_control_are_cut_at_the_same_places() {
        let draft = draft(0.0);
        let fitted = fit(&draft, 30, 2).unwrap();
        let total: usize = fitted.units.iter().map(Vec::len).sum();
        let item = fitted.cut(&(0..total).map(|at| at >= 2).collect::<Vec<_>>());
        assert_eq!(item.prompt[..3], [1, 9, 100]);
        assert_eq!(item.control.unwrap()[..3], [1, 104, 100]);
        assert!((item.needle_kept - 1.0 / 3.0).abs() < 1e-12);
        let without = fitted.cut(&(0..total).map(|at| at >= 3).collect::<Vec<_>>());
        assert_eq!((without.needle_kept, without.control.as_ref()), (0.0, Some(&without.prompt)), "nothing to lose");
    }

    proptest! {
        #[test]
        fn lengths_hold_and_only_the_asked_needle_differs(depth in 0.0..=100.0_f64, length in 9_usize..200, generation in 1_usize..4) {
            let draft = draft(depth);
            if let Ok(item) = fit(&draft, length, generation).map(|fitted| fitted.whole()) {
                let used = item.prompt.len() + generation;
                prop_assert!(used <= length && (length - used < 5));
                let control = item.control.unwrap();
                prop_assert_eq!(control.len(), item.prompt.len());
                let at = item.prompt.windows(3).position(|window| window == [7, 8, 9]).unwrap();
                prop_assert_eq!(&control[..at], &item.prompt[..at]);
                prop_assert_eq!(&control[at + 3..], &item.prompt[at + 3..]);
                let before = item.prompt[..at].iter().filter(|token| **token >= 100).count();
                let total = item.prompt.iter().filter(|token| **token >= 100).count();
                prop_assert!((before as f64 - depth / 100.0 * total as f64).abs() <= 2.5 && before.is_multiple_of(5));
            }
        }
    }
}
