use contracts::Source;

/// How several vehicles are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A call for each number, some at a time.
    Single,
    /// Calls for many numbers each.
    Batch,
}

impl Strategy {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Single => Source::Live,
            Self::Batch => Source::Batch,
        }
    }
}
