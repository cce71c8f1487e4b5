//! A person who is to be forgotten. The log is left as it is: it never held the number.

use axum::extract::State;
use contracts::{
    Erasure, ErasureRequest, PersonalIdentityNumber, PersonalIdentityNumberError, PolicyStatus,
};
use http::StatusCode;
use service_defaults::{
    extract::invalid_member, problem::Rejection, request_context::RequestContext, telemetry::AUDIT,
};
use sqlx::PgConnection;

use super::{
    Clock, Policies,
    answer::Answer,
    execute::Caller,
    expiry::write_end,
    idempotency::{self, Claim, Once},
    refusal::Failure,
    store,
};

/// Forgets a person
///
/// The personal identity number is taken from drafts and from policies that have ended, and the
/// answers about them that are kept for second tries become 410 `erased`. A policy that was cancelled
/// before its first day ends at once. Nothing is done where a policy of the person is in force or
/// begins later. A draft without a person can only be
/// cancelled. Backups hold the number until they are deleted.
#[utoipa::path(
    post, path = "/api/v1/operations/erasures", tag = "Policies",
    params(
        ("Idempotency-Key" = String, Header, description = "Of the caller's making, the same one for each try; kept for 24 hours", min_length = 16, max_length = 64, pattern = "^[A-Za-z0-9_-]{16,64}$", example = "erase-4f1d0a2b9c"),
    ),
    request_body = ErasureRequest,
    responses(
        (status = 200, description = "No policy that was there when it began names the person any more", body = Erasure, headers(
            ("Idempotency-Replayed" = String, description = "`true` where the answer is that of an earlier try"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "A policy of the person is in force or begins later, or is being changed", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 422, description = "The key came with another request"),
    )
)]
pub(super) async fn erase_person(
    State(policies): State<Policies>,
    caller: Caller,
    Once(claim, body): Once<ErasureRequest>,
) -> Result<Answer, Failure> {
    let work = async {
        // Not held to `personal_identity_number.check`: what is stored may be older than it.
        let person = body.personal_identity_number.expose().parse().map_err(
            |rule: PersonalIdentityNumberError| invalid_member("personalIdentityNumber", &rule),
        )?;
        policies.erase(&caller, claim.clone(), person).await
    };
    policies.once(&claim, work).await
}

/// An erasure of one request, with all that it rests on.
#[derive(Debug)]
struct Job {
    clock: Clock,
    context: RequestContext,
    claim: Claim,
    person: PersonalIdentityNumber,
}

impl Policies {
    async fn erase(
        &self,
        caller: &Caller,
        claim: Claim,
        person: PersonalIdentityNumber,
    ) -> Result<Answer, Failure> {
        let job = Job {
            clock: self.clock.clone(),
            context: caller.context.clone(),
            claim,
            person,
        };
        let left = caller.time_left();
        let done = self
            .database
            .change(left, &job, |connection, job| Box::pin(job.run(connection)));
        let (answer, erased) = done.await?;
        self.log.appended();
        job.tell("done", &erased);
        Ok(answer)
    }
}

impl Job {
    async fn run(&self, connection: &mut PgConnection) -> Result<(Answer, Erasure), Failure> {
        store::lock_person(connection, &self.person).await?;
        let ids = lock_all(connection, &self.person).await?;
        self.end_all(connection, &ids).await?;
        let erased = Erasure {
            policies: forget_person(connection, &ids).await?,
            answers: forget_answers(connection, &ids).await?,
        };
        let answer = Answer::of(StatusCode::OK, &erased)?;
        let entry = self.claim.entry(&answer);
        let entry = entry.map_err(|error| Rejection::internal().with_cause(error))?;
        idempotency::keep(connection, &entry, None).await?;
        // A commit that is cut off may have taken effect, and nobody is told.
        self.tell("begun", &erased);
        Ok((answer, erased))
    }

    /// Figures only: whom it was about is nobody's business any more.
    fn tell(&self, outcome: &'static str, erased: &Erasure) {
        tracing::warn!(
            target: AUDIT,
            parent: None,
            action = "erase_person",
            outcome,
            key_id = self.context.key_id().unwrap_or_default(),
            request_id = self.context.request_id(),
            trace_id = self.context.trace_id(),
            policies = erased.policies,
            answers = erased.answers,
            "a person is forgotten"
        );
    }

    /// Writes the end of each policy whose day has come, or that covers no day. Any other that is no
    /// draft is in force, or will be.
    async fn end_all(&self, connection: &mut PgConnection, ids: &[i64]) -> Result<(), Failure> {
        let today = self.clock.today();
        for found in store::find(connection, ids).await? {
            let policy = found.map_err(store::unreadable)?.policy;
            // Cancelled before its first day, it will never be in force.
            let end = policy.cancelled_on.or(policy.valid_until);
            let day = match end {
                Some(end) if policy.covers.is_empty() => end.max(today),
                _ => today,
            };
            match policy.status_on(day) {
                PolicyStatus::Active | PolicyStatus::Suspended => {
                    return Err(Failure::PolicyInForce);
                }
                PolicyStatus::Draft | PolicyStatus::Cancelled | PolicyStatus::Expired => {
                    write_end(connection, &policy, day).await?;
                }
            }
        }
        Ok(())
    }
}

/// The numbers of a person's policies, which nobody else changes until the end of the transaction.
async fn lock_all(
    connection: &mut PgConnection,
    person: &PersonalIdentityNumber,
) -> sqlx::Result<Vec<i64>> {
    // Waits in one statement would add up.
    sqlx::query_scalar!(
        "select insurance_id from insurance.insurances
         where personal_identity_number = $1 order by insurance_id for no key update nowait",
        person.expose_digits()
    )
    .fetch_all(connection)
    .await
}

async fn forget_person(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "update insurance.insurances set personal_identity_number = null
         where insurance_id = any($1)",
        ids
    );
    Ok(forgotten.execute(connection).await?.rows_affected())
}

/// What is left of an answer is its key and its fingerprint, so that a second try is told 410.
async fn forget_answers(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "update insurance.idempotency_keys set status = 410, headers = null, body = null
         where subject in (select 'policy/' || id from unnest($1::bigint[]) as id)
             and status <> 410",
        ids
    );
    Ok(forgotten.execute(connection).await?.rows_affected())
}
