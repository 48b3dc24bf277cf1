#ifndef EXPERIMENTS_SCHEMA_H
#define EXPERIMENTS_SCHEMA_H

enum { SCHEMA_APPLICATION_ID = 0x50455343 /* "PESC" */, SCHEMA_VERSION = 4 };

extern const char schema_sql[]; /* the text of schema.sql, embedded by the build */

#endif
