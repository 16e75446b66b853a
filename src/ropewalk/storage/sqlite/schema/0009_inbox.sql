-- Deliveries can be looked at and sent again. `place` is where in all that its instance received a delivery begins, in bytes and from 1:
-- how far that lies behind the end of the newest says how much would be kept with it. It is 0 when the request is not kept any more.

ALTER TABLE deliveries ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN redelivers TEXT;               -- the execution whose request a person sent again

CREATE INDEX deliveries_of_instance ON deliveries (instance, place);
