-- How a generation came to be, and the payload schemas that came with it, both JSON.
ALTER TABLE generations ADD COLUMN origin  TEXT NOT NULL DEFAULT '{"from":"source"}';
ALTER TABLE generations ADD COLUMN schemas TEXT NOT NULL DEFAULT '{}';

-- Which jobs were accepted with which plugin, so that the newest of a plugin are found among millions.
CREATE TABLE pins (
    plugin TEXT    NOT NULL,                -- its id
    job    INTEGER NOT NULL,
    PRIMARY KEY (plugin, job)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO pins (plugin, job)
    SELECT step.value ->> '$.plugin.id', specs.job
    FROM specs, json_each(stored_json(specs.spec), '$.steps') AS step
    WHERE step.value ->> '$.plugin.id' IS NOT NULL;
