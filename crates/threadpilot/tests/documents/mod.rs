//! What documents, a template and a script promise is so.

mod readme;
mod secrets;
