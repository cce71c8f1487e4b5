//! The pages to which the `type` of a problem document leads.

use contracts::PROBLEMS;
use http::StatusCode;

use crate::{extract::Path, problem::Rejection};

/// What a kind of problem means
///
/// The page to which the `type` of a problem document leads.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "Problems",
    params(("code" = String, Path, description = "`code` of a problem document", example = "overloaded")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/plain"),
        (status = 404, description = "No problem has this code"),
    )
)]
pub(crate) async fn get_problem(Path(code): Path<String>) -> Result<String, Rejection> {
    let known = PROBLEMS.iter().find(|(known, _)| *known == code);
    let (code, meaning) = known.ok_or_else(|| Rejection::of_status(StatusCode::NOT_FOUND))?;
    Ok(format!("{code}\n\n{meaning}\n"))
}
