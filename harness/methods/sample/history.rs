//! The tokens before a step.

/// The prompt and what was generated after it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past<'a> {
    /// The prompt.
    pub prompt: &'a [u32],
    /// What came after it.
    pub generated: &'a [u32],
}

impl Past<'_> {
    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.generated.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `last` tokens, oldest first; all when `last` is -1.
    pub fn recent(&self, last: i64) -> Vec<u32> {
        let count = usize::try_from(last).map_or(self.len(), |last| last.min(self.len()));
        let all = self.prompt.iter().chain(self.generated);
        all.skip(self.len() - count).copied().collect()
    }

    /// How often each token stands among the last `last`, by token; without the prompt if it is not to count.
    pub fn counts(&self, last: i64, with_prompt: bool) -> Vec<(u32, usize)> {
        let past = if with_prompt { *self } else { Past { prompt: &[], generated: self.generated } };
        let mut tokens = past.recent(last);
        tokens.sort_unstable();
        tokens.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_reaches_over_the_end_of_the_prompt() {
        let past = Past { prompt: &[1, 2, 3], generated: &[4, 3] };
        assert_eq!(past.recent(3), [3, 4, 3]);
        assert_eq!(past.recent(-1), [1, 2, 3, 4, 3]);
        assert_eq!(past.recent(99), past.recent(-1));
        assert!(past.recent(0).is_empty());
        assert_eq!(past.counts(3, true), [(3, 2), (4, 1)]);
        assert_eq!(past.counts(-1, false), [(3, 1), (4, 1)]);
    }
}
