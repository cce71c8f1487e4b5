-- no-transaction
-- Commits by itself, so that the rows of a big table are not imported in one transaction. Whoever
-- stops it may run `migrate` again.
call insurance.import_policies();
