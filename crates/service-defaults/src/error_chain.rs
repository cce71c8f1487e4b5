/// An error and what caused it, outermost first. Libraries whose words end with those of the cause
/// say it once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |chain, cause| {
        let cause = cause.to_string();
        if chain.ends_with(&cause) {
            chain
        } else {
            format!("{chain}: {cause}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::chain;

    #[derive(Debug, thiserror::Error)]
    enum Error {
        #[error("the server refused the connection")]
        Ours(#[source] Box<Error>),
        #[error("from the database: {0}")]
        Library(#[source] io::Error),
    }

    #[test]
    fn a_cause_that_is_told_already_is_not_told_again() {
        let cause = io::Error::other("no such role");
        let told = chain(&Error::Ours(Box::new(Error::Library(cause))));
        let expected = "the server refused the connection: from the database: no such role";
        assert_eq!(told, expected);
    }
}
