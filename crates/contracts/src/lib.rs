//! The public contract of both services: wire types, identifier newtypes, headers and the problem
//! document.
//!
//! Everything here is what a caller sees on the wire and nothing else: no I/O, no framework.
//! Member names are camelCase; an absent value is written as `null`, never left out.

mod consumer;
mod day;
mod deadline;
mod event;
mod insurance;
mod money;
mod operations;
mod personal_identity_number;
mod policy;
mod policy_event;
mod problem;
mod registration_number;
mod replay;
mod vehicle;
mod wire_enum;

pub use consumer::{
    Consumer, ConsumerChange, ConsumerControl, ConsumerList, ConsumerMode, ConsumerSnapshot,
    DeadLetter, DeadLetterNote, DeadLetterPage, DeadLetterReason, DeadLetterRetry,
    DeadLetterStatus, DeadLetterWithEvent, DeadLettersRetried,
};
pub use day::{Day, DayError};
pub use deadline::{MAX_DEADLINE_MS, X_DEADLINE_MS};
pub use event::{
    AuditBucket, AuditEvent, AuditPage, AuditStatistics, AuditWindow, CloudEvent, ConsistencyProof,
    InclusionProof,
};
pub use insurance::{
    Cause, Currency, Enrichment, EnrichmentStatus, Insurance, InsuranceProfile, LookupRequest,
    Product, ProfileEnrichment, Source,
};
pub use money::{Money, MoneyError};
pub use operations::{
    BreakerState, GuardBreaker, GuardCache, GuardCalls, GuardIsolation, GuardMode, RetryAfterGate,
    VehicleGuard, VehicleGuardChange,
};
pub use personal_identity_number::{
    PersonalIdentityNumber, PersonalIdentityNumberCheck, PersonalIdentityNumberError,
    UncheckedText, may_hold_personal_identity_number,
};
pub use policy::{
    Erasure, ErasureRequest, NewPrice, Policy, PolicyChange, PolicyDraft, PolicyPage, PolicyPatch,
    PolicyPeriod, PolicyStatus, PolicyTransition, Price, PriceList, TransitionReason,
};
pub use policy_event::{
    PolicyActivated, PolicyCancelled, PolicyChanged, PolicyDrafted, PolicyEnded, PolicyEvent,
    PolicyEventError, PolicyImported, PolicyMoved, PriceSet,
};
pub use problem::{FieldError, PROBLEMS, Problem};
pub use registration_number::{RegistrationNumber, RegistrationNumberError};
pub use replay::{
    ComparisonCount, ComparisonOutcome, Replay, ReplayList, ReplayMode, ReplayRequest,
    ReplayStatus, ReplicaComparison, ReplicaDifference,
};
pub use vehicle::{
    BatchAnswer, BatchRequest, InvalidEntry, MAX_BATCH_SIZE, MAX_PAGE_SIZE, Vehicle,
    VehicleDetails, VehiclePage, VersionedVehicle,
};
pub use wire_enum::{Value, described};
