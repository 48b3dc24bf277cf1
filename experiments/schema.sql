-- The history's schema, version 4 (SQLite >= 3.37 for STRICT; no extensions). The views are the
-- documented contract; tables may grow columns. Run within one transaction by db.c.
PRAGMA application_id = 0x50455343; -- "PESC"
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE experiment(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note TEXT NOT NULL DEFAULT '',
  created_ms INTEGER NOT NULL, deleted_ms INTEGER) STRICT;
CREATE TABLE env(                        -- one row per distinct software+hardware environment
  id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, host TEXT NOT NULL, cpu_model TEXT NOT NULL,
  isa TEXT NOT NULL, cores INTEGER NOT NULL, mem_mib INTEGER NOT NULL, os TEXT NOT NULL,
  tool_version TEXT NOT NULL, git_commit TEXT NOT NULL, git_dirty INTEGER NOT NULL
    CHECK(git_dirty IN(0,1)),
  compiler TEXT NOT NULL, libs TEXT NOT NULL) STRICT; -- libs: JSON text {"onednn":"2.6.3",...}
CREATE TABLE model(                      -- base model as fingerprinted on disk
  id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL, path TEXT NOT NULL,
  arch TEXT NOT NULL, n_layers INTEGER NOT NULL, hidden INTEGER NOT NULL, vocab INTEGER NOT NULL,
  n_params INTEGER NOT NULL, dtype TEXT NOT NULL, tokenizer_sha256 TEXT NOT NULL,
    config TEXT NOT NULL,
  license TEXT, first_seen_ms INTEGER NOT NULL) STRICT;
CREATE TABLE crafted(                    -- base model + adapter/router structure (+ init seed)
  id INTEGER PRIMARY KEY, model_id INTEGER NOT NULL REFERENCES model, config_sha256 TEXT NOT NULL,
  n_experts INTEGER NOT NULL, top_k INTEGER NOT NULL, adapter_dim INTEGER NOT NULL,
    n_trainable INTEGER NOT NULL,
  seed INTEGER NOT NULL, config TEXT NOT NULL, created_ms INTEGER NOT NULL,
    UNIQUE(model_id,config_sha256,seed)) STRICT;
CREATE TABLE dataset(
  id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, path TEXT NOT NULL,
    member TEXT,
  format TEXT NOT NULL, bytes INTEGER NOT NULL, records INTEGER NOT NULL,
    skipped INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER, license TEXT, source TEXT, first_seen_ms INTEGER NOT NULL) STRICT;
CREATE TABLE run(
  id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE CHECK(length(uuid)=32),
  experiment_id INTEGER NOT NULL REFERENCES experiment, crafted_id INTEGER REFERENCES crafted,
  model_id INTEGER REFERENCES model,     -- of a dense run too
  name TEXT NOT NULL, status TEXT NOT NULL
    CHECK(status IN('created','running','finished','failed','killed','interrupted')),
  exit_code INTEGER, error TEXT, created_ms INTEGER NOT NULL, started_ms INTEGER,
    ended_ms INTEGER, heartbeat_ms INTEGER,
  seed INTEGER NOT NULL, determinism TEXT NOT NULL CHECK(determinism IN('none','run','threads')),
  steps_planned INTEGER, last_step INTEGER NOT NULL DEFAULT 0,
    tokens_seen INTEGER NOT NULL DEFAULT 0,
  parent_run_id INTEGER REFERENCES run, dir TEXT NOT NULL, cmdline TEXT NOT NULL,
    config TEXT NOT NULL,
  config_sha256 TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', deleted_ms INTEGER) STRICT;
CREATE TABLE segment( -- one row per process that worked on the run (start or resume)
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, seq INTEGER NOT NULL,
    env_id INTEGER NOT NULL REFERENCES env,
  pid INTEGER NOT NULL, boot_id TEXT NOT NULL, threads INTEGER NOT NULL,
    start_step INTEGER NOT NULL, end_step INTEGER,
  started_ms INTEGER NOT NULL, ended_ms INTEGER, resumed_from TEXT, reason TEXT,
  PRIMARY KEY(run_id,seq)) STRICT, WITHOUT ROWID;
CREATE TABLE plan( -- since version 3: what a process was expected to need and take, and did
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, seq INTEGER NOT NULL, -- of the segment
  budget_bytes INTEGER,                  -- of --memory; NULL: none
  peak_bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL, traffic_bytes INTEGER NOT NULL,
  tokens_per_s REAL, seconds REAL,       -- NULL: not measured beforehand
  terms TEXT NOT NULL, places TEXT NOT NULL, -- JSON text: bytes by use; what is where
  real_peak_bytes INTEGER, real_tokens_per_s REAL, real_seconds REAL, -- NULL: not ended yet
  PRIMARY KEY(run_id,seq)) STRICT, WITHOUT ROWID;
CREATE TABLE run_dataset(run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    dataset_id INTEGER NOT NULL REFERENCES dataset,
  role TEXT NOT NULL CHECK(role IN('train','valid','test')), weight REAL NOT NULL DEFAULT 1,
    used INTEGER, skipped INTEGER,
  tokens INTEGER,                        -- with this run's tokenizer and template
  -- since version 2: records = used + skipped; reasons: JSON text {"empty":0,...}
  records INTEGER, reasons TEXT NOT NULL DEFAULT '{}', truncated INTEGER, split INTEGER,
  pieces_dropped INTEGER, samples INTEGER, trained_tokens INTEGER,
  PRIMARY KEY(run_id,role,dataset_id)) STRICT, WITHOUT ROWID;
CREATE TABLE param(run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, key TEXT NOT NULL,
    value TEXT NOT NULL,
  PRIMARY KEY(run_id,key)) STRICT, WITHOUT ROWID;
CREATE TABLE tag(run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, key TEXT NOT NULL,
    value TEXT NOT NULL,
  PRIMARY KEY(run_id,key)) STRICT, WITHOUT ROWID;
CREATE TABLE metric_key(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    unit TEXT NOT NULL DEFAULT '',
  goal TEXT NOT NULL DEFAULT 'none' CHECK(goal IN('min','max','none')),
    help TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE metric( -- clustered by (run,key,step): a curve is one contiguous range
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, key_id INTEGER NOT NULL
    REFERENCES metric_key,
  step INTEGER NOT NULL, value REAL, -- NULL = NaN (SQLite cannot store NaN); +-Inf stored as REAL
  t_ms INTEGER NOT NULL, PRIMARY KEY(run_id,key_id,step)) STRICT, WITHOUT ROWID;
CREATE TABLE router_layer(run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    layer INTEGER NOT NULL, step INTEGER NOT NULL,
  entropy REAL, aux_loss REAL, z_loss REAL, dropped REAL,
  -- since version 4: mean probability of the first choice; tokens since the last report
  top1 REAL, tokens INTEGER, PRIMARY KEY(run_id,layer,step)) STRICT, WITHOUT ROWID;
CREATE TABLE router_expert(run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    layer INTEGER NOT NULL, expert INTEGER NOT NULL,
  step INTEGER NOT NULL, load REAL, prob REAL,
  first REAL,                            -- since version 4: share of all first choices
  PRIMARY KEY(run_id,layer,expert,step)) STRICT, WITHOUT ROWID;
CREATE TABLE router_domain(              -- load of an expert among the tokens of one data domain
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, layer INTEGER NOT NULL,
    expert INTEGER NOT NULL,
  domain TEXT NOT NULL, step INTEGER NOT NULL, load REAL,
  prob REAL, first REAL,                 -- since version 4
    PRIMARY KEY(run_id,layer,expert,domain,step)) STRICT, WITHOUT ROWID;
-- Since version 4: a layer as the tokens of one domain see it; and what an evaluation saw, domain
-- '' being all of its tokens.
CREATE TABLE router_domain_layer(
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, layer INTEGER NOT NULL,
  domain TEXT NOT NULL, step INTEGER NOT NULL, entropy REAL, top1 REAL, tokens INTEGER,
  PRIMARY KEY(run_id,layer,domain,step)) STRICT, WITHOUT ROWID;
CREATE TABLE router_eval(
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL,
  task TEXT NOT NULL, domain TEXT NOT NULL, layer INTEGER NOT NULL, expert INTEGER NOT NULL,
  load REAL, prob REAL, first REAL,
  PRIMARY KEY(run_id,step,task,domain,layer,expert)) STRICT, WITHOUT ROWID;
CREATE TABLE router_eval_layer(
  run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL,
  task TEXT NOT NULL, domain TEXT NOT NULL, layer INTEGER NOT NULL,
  entropy REAL, top1 REAL, tokens INTEGER,
  PRIMARY KEY(run_id,step,task,domain,layer)) STRICT, WITHOUT ROWID;
CREATE TABLE eval(id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL
    REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL,
  task TEXT NOT NULL, metric TEXT NOT NULL, value REAL, stderr REAL, n INTEGER NOT NULL,
    dataset_id INTEGER REFERENCES dataset,
  config TEXT NOT NULL DEFAULT '{}', t_ms INTEGER NOT NULL,
  lo REAL, hi REAL,                      -- since version 4: 95 % confidence; NULL: unknown
  UNIQUE(run_id,step,task,metric)) STRICT;
CREATE TABLE artifact(id INTEGER PRIMARY KEY, run_id INTEGER REFERENCES run ON DELETE SET NULL,
  kind TEXT NOT NULL CHECK(kind IN('checkpoint','adapter','pack','log','config','other')),
    path TEXT NOT NULL, step INTEGER,
  sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, state TEXT NOT NULL
    CHECK(state IN('complete','pruned','missing')),
  created_ms INTEGER NOT NULL, UNIQUE(path,sha256)) STRICT;
CREATE TABLE pack(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    version TEXT NOT NULL,
  origin TEXT NOT NULL CHECK(origin IN('exported','imported')), run_id INTEGER
    REFERENCES run ON DELETE SET NULL,
  crafted_id INTEGER REFERENCES crafted, model_fingerprint TEXT NOT NULL, signer TEXT,
    trust TEXT NOT NULL CHECK(trust IN('unsigned','signed','trusted')),
  license TEXT, path TEXT NOT NULL, manifest TEXT NOT NULL, created_ms INTEGER NOT NULL,
    UNIQUE(name,version,digest)) STRICT;
CREATE TABLE event(id INTEGER PRIMARY KEY, run_id INTEGER REFERENCES run ON DELETE CASCADE,
    t_ms INTEGER NOT NULL, step INTEGER,
  level TEXT NOT NULL CHECK(level IN('debug','info','warn','error')), code TEXT NOT NULL,
    text TEXT NOT NULL) STRICT;
CREATE INDEX run_exp ON run(experiment_id, created_ms);
CREATE INDEX run_live ON run(heartbeat_ms) WHERE status='running';
CREATE INDEX run_crafted ON run(crafted_id);
CREATE INDEX crafted_model ON crafted(model_id);
CREATE INDEX param_key ON param(key, value);
CREATE INDEX run_dataset_ds ON run_dataset(dataset_id);
CREATE INDEX eval_task ON eval(task, metric, value);
CREATE INDEX artifact_run ON artifact(run_id, kind, step);
CREATE INDEX artifact_sha ON artifact(sha256);
CREATE INDEX pack_model ON pack(model_fingerprint);
CREATE INDEX pack_run ON pack(run_id);
CREATE INDEX event_run ON event(run_id, t_ms);
CREATE VIEW v_metric AS SELECT r.uuid, r.id AS run_id, r.name AS run, k.name AS metric, m.step,
  coalesce(m.value,'NaN') AS value, datetime(m.t_ms/1000,'unixepoch') AS at
  FROM metric m JOIN run r ON r.id=m.run_id JOIN metric_key k ON k.id=m.key_id;
CREATE VIEW v_last AS SELECT r.id AS run_id, k.name AS metric,
  (SELECT m.value FROM metric m WHERE m.run_id=r.id AND m.key_id=k.id
    ORDER BY m.step DESC LIMIT 1) AS value,
  (SELECT m.step FROM metric m WHERE m.run_id=r.id AND m.key_id=k.id ORDER BY m.step DESC LIMIT 1)
    AS step
  FROM run r CROSS JOIN metric_key k;
CREATE VIEW v_run AS SELECT r.id, e.name AS experiment, r.name,
  CASE WHEN r.status='running' AND r.heartbeat_ms < (strftime('%s','now')-120)*1000
    THEN 'stale?' ELSE r.status END AS status,
  r.last_step||'/'||coalesce(r.steps_planned,'?') AS steps,
  (SELECT m.value FROM metric m JOIN metric_key k ON k.id=m.key_id AND k.name='train/loss'
    WHERE m.run_id=r.id ORDER BY m.step DESC LIMIT 1) AS train_loss,
  (SELECT min(m.value) FROM metric m JOIN metric_key k ON k.id=m.key_id AND k.name='valid/loss'
    WHERE m.run_id=r.id) AS best_valid,
  round((coalesce(r.ended_ms,r.heartbeat_ms)-r.started_ms)/1000.0/3600,2) AS hours, mo.name AS base,
  c.n_experts||'x'||c.adapter_dim||' top'||c.top_k AS moe, (SELECT count(*)-1 FROM segment s
    WHERE s.run_id=r.id) AS resumes,
  datetime(r.created_ms/1000,'unixepoch') AS created, r.exit_code, r.error
  FROM run r JOIN experiment e ON e.id=r.experiment_id LEFT JOIN crafted c ON c.id=r.crafted_id
    LEFT JOIN model mo ON mo.id=coalesce(c.model_id,r.model_id)
  WHERE r.deleted_ms IS NULL;
CREATE VIEW v_plan AS SELECT r.uuid, r.name AS run, p.seq, p.budget_bytes, p.peak_bytes,
  p.real_peak_bytes, round(100.0*p.peak_bytes/p.real_peak_bytes-100, 2) AS peak_error,
  p.tokens_per_s, p.real_tokens_per_s,
  round(100.0*p.real_tokens_per_s/p.tokens_per_s-100, 2) AS step_error, -- of a step's seconds
  p.seconds, p.real_seconds, p.disk_bytes, p.traffic_bytes, p.terms, p.places
  FROM plan p JOIN run r ON r.id=p.run_id WHERE r.deleted_ms IS NULL;
CREATE VIEW v_router AS SELECT r.uuid, x.run_id, r.name AS run, x.layer, x.step,
  max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean,
  sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS dead_experts,
  max(x.first)*count(*) AS first_max_over_mean,
  l.entropy, l.top1, l.aux_loss, l.tokens
  FROM router_expert x JOIN run r ON r.id=x.run_id
  LEFT JOIN router_layer l ON l.run_id=x.run_id AND l.layer=x.layer AND l.step=x.step
  GROUP BY x.run_id, x.layer, x.step;
CREATE VIEW v_router_domain AS SELECT r.uuid, x.run_id, r.name AS run, x.layer, x.domain, x.step,
  max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean,
  sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS dead_experts,
  max(x.first)*count(*) AS first_max_over_mean,
  l.entropy, l.top1, l.tokens
  FROM router_domain x JOIN run r ON r.id=x.run_id
  LEFT JOIN router_domain_layer l ON l.run_id=x.run_id AND l.layer=x.layer AND l.domain=x.domain
    AND l.step=x.step
  GROUP BY x.run_id, x.layer, x.domain, x.step;
CREATE VIEW v_router_eval AS SELECT r.uuid, x.run_id, r.name AS run, x.task, x.domain, x.layer,
  x.step, max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean,
  sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS dead_experts,
  max(x.first)*count(*) AS first_max_over_mean,
  l.entropy, l.top1, l.tokens
  FROM router_eval x JOIN run r ON r.id=x.run_id
  LEFT JOIN router_eval_layer l ON l.run_id=x.run_id AND l.step=x.step AND l.task=x.task
    AND l.domain=x.domain AND l.layer=x.layer
  GROUP BY x.run_id, x.step, x.task, x.domain, x.layer;
CREATE VIEW v_eval AS SELECT r.uuid, r.id AS run_id, r.name AS run, e.step, e.task, e.metric,
  coalesce(e.value,'NaN') AS value, e.lo, e.hi, e.stderr, e.n, e.config,
  datetime(e.t_ms/1000,'unixepoch') AS at
  FROM eval e JOIN run r ON r.id=e.run_id WHERE r.deleted_ms IS NULL;
CREATE VIEW v_event AS SELECT r.uuid, r.id AS run_id, r.name AS run, e.step, e.level, e.code,
  e.text, datetime(e.t_ms/1000,'unixepoch') AS at
  FROM event e JOIN run r ON r.id=e.run_id WHERE r.deleted_ms IS NULL;
CREATE VIEW v_lineage AS SELECT p.name||'@'||p.version AS pack, p.digest, r.uuid AS run, r.name
    AS run_name, c.config_sha256 AS crafted,
  m.name AS base, m.fingerprint AS base_fingerprint,
    (SELECT group_concat(d.name||' '||substr(d.sha256,1,12),', ')
    FROM run_dataset rd JOIN dataset d ON d.id=rd.dataset_id WHERE rd.run_id=r.id
    AND rd.role='train') AS trained_on,
  (SELECT group_concat(DISTINCT v.git_commit||CASE v.git_dirty WHEN 1 THEN '+' ELSE '' END)
    FROM segment s JOIN env v ON v.id=s.env_id WHERE s.run_id=r.id) AS code
  FROM pack p LEFT JOIN run r ON r.id=p.run_id
    LEFT JOIN crafted c ON c.id=coalesce(p.crafted_id,r.crafted_id)
    LEFT JOIN model m ON m.id=coalesce(c.model_id,r.model_id);
INSERT INTO metric_key(name, unit, goal, help) VALUES
  ('train/loss', 'nats', 'min', 'training loss of a step, balance loss included'),
  ('valid/loss', 'nats', 'min', 'mean cross entropy per scored token of the validation data');
PRAGMA user_version = 4;
