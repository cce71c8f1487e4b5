//! Whether the database still refuses to change the log. An owner of the tables can disarm the
//! triggers; the readiness says so.

use sqlx::PgConnection;

use crate::EventLog;

/// The triggers of the schema of a log, by their tables.
const TRIGGERS: [(&str, &str); 12] = [
    ("events", "take_a_sequence"),
    ("events", "await_a_place"),
    ("events", "append_only"),
    ("events", "never_truncated"),
    ("log", "append_only"),
    ("log", "never_truncated"),
    ("event_tiles", "append_only"),
    ("event_tiles", "never_truncated"),
    ("checkpoints", "append_only"),
    ("checkpoints", "never_truncated"),
    ("former_logs", "append_only"),
    ("former_logs", "never_truncated"),
];

impl EventLog {
    /// What is not armed: the triggers of the log and these others, each with its table and its
    /// schema, and the append-only tables that their owner may change again.
    pub async fn disarmed(
        &self,
        connection: &mut PgConnection,
        others: &[(&str, &str)],
    ) -> sqlx::Result<Vec<String>> {
        let own = TRIGGERS.map(|(table, trigger)| (format!("{}{table}", self.0.prefix), trigger));
        let others = others
            .iter()
            .map(|(table, trigger)| ((*table).to_owned(), *trigger));
        let (tables, triggers): (Vec<String>, Vec<&str>) = own.into_iter().chain(others).unzip();
        let select = self.sql(
            "select wanted.table_name || '.' || wanted.trigger_name
             from unnest($1::text[], $2::text[]) as wanted (table_name, trigger_name)
             where not exists (
                 select from pg_trigger where tgrelid = to_regclass(wanted.table_name)
                     and tgname = wanted.trigger_name and tgenabled = 'A'
             )
             union all
             select 'event_log.' || relname from pg_class
             where oid in ('event_log.events'::regclass, 'event_log.log'::regclass,
                     'event_log.event_tiles'::regclass, 'event_log.checkpoints'::regclass,
                     'event_log.former_logs'::regclass)
                 and has_table_privilege(relowner, oid, 'update, delete, truncate')
                 and not (select rolsuper from pg_roles where oid = relowner)
             order by 1",
        );
        let query = sqlx::query_scalar(select).bind(tables).bind(triggers);
        query.fetch_all(connection).await
    }
}
