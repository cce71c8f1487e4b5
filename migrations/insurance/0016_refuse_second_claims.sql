-- Ends a second claim of an idempotency key. It names nothing: of what a constraint refuses, PostgreSQL
-- writes the row into its log. New, so the release before this one goes on working.
create function insurance.refuse_claim() returns timestamptz language plpgsql as $$
begin
    raise exception 'an answer is kept under this key'
    using errcode = 'unique_violation', constraint = 'idempotency_keys_pkey';
end
$$;
