-- A key is claimed together with its answer. The release before this one claims it first.
grant insert (status, headers, body, subject) on insurance.idempotency_keys to insurance_service;
