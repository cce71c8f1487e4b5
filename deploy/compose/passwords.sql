-- Lets the roles of migrations/roles.sql log in, with the passwords that ./init.sh made.
\getenv vehicle_service VEHICLE__DATABASE__PASSWORD
\getenv vehicle_migrator VEHICLE__DATABASE__MIGRATION_PASSWORD
\getenv insurance_service INSURANCE__DATABASE__PASSWORD
\getenv insurance_migrator INSURANCE__DATABASE__MIGRATION_PASSWORD
alter role vehicle_service login password :'vehicle_service';
alter role vehicle_migrator login password :'vehicle_migrator';
alter role insurance_service login password :'insurance_service';
alter role insurance_migrator login password :'insurance_migrator';
