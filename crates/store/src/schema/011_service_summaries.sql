-- A page of the list of services is read from the index alone.
ALTER TABLE services ADD COLUMN summary TEXT NOT NULL DEFAULT '{}';
UPDATE services SET summary = json_object(
    'id', json_extract(record, '$.id'),
    'name', json_extract(record, '$.name'),
    'label', json_extract(record, '$.label'),
    'status', json_extract(record, '$.status'),
    'created_at', json_extract(record, '$.created_at'),
    'updated_at', json_extract(record, '$.updated_at')
);
DROP INDEX services_created;
CREATE INDEX services_listed ON services (created_at, id, version, summary) WHERE deleted = 0;
