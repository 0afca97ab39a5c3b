//! The SQLite engine: one table, write-ahead log, a sync per commit.
//!
//! Rows are found by their number, which the entry in memory knows, so there is no index to keep: a change of a small
//! value dirties one page. The newest revision is the greatest of all rows, or that of the last deletion, which leaves
//! no row and is written down apart. The log is folded into the file by SQLite's own rule (every 1,000 pages).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::engine::Engine;
use crate::{EngineError, Entry, Error, Event};

/// The layout of the tables, kept in `PRAGMA user_version`.
const LAYOUT: i64 = 1;

/// A new store begins here, so that revision 1 is in the past of every change, as with etcd.
const FIRST_REVISION: u64 = 1;

pub(crate) struct Sqlite {
    db: Connection,
    /// Held for the life of the engine: SQLite itself would let a second process write beside our index.
    _lock: File,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, durable: bool) -> Result<Sqlite, Error> {
        let open = |err| Error::Open {
            path: path.into(),
            err: Arc::new(err),
        };
        let lock = lock(path)
            .map_err(|e| open(e.into()))?
            .ok_or_else(|| Error::Locked { path: path.into() })?;
        let db = connect(path, durable).map_err(open)?;
        Ok(Sqlite { db, _lock: lock })
    }
}

fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let file = File::options().create(true).append(true).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(err)) => Err(err),
    }
}

fn connect(path: &Path, durable: bool) -> Result<Connection, EngineError> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL would sync the log only when it is folded: an acknowledged write could be lost with the machine.
    let synchronous = if durable { "FULL" } else { "OFF" };
    db.pragma_update(None, "synchronous", synchronous)?;
    let layout: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match layout {
        0 => {
            db.execute_batch(
                "BEGIN;
                 CREATE TABLE object (
                     id INTEGER PRIMARY KEY,
                     key TEXT NOT NULL,
                     create_revision INTEGER NOT NULL,
                     mod_revision INTEGER NOT NULL,
                     stamp INTEGER,
                     value BLOB NOT NULL
                 );
                 CREATE TABLE deletion (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);",
            )?;
            db.execute(
                "INSERT INTO deletion VALUES (0, ?1)",
                params![FIRST_REVISION as i64],
            )?;
            db.pragma_update(None, "user_version", LAYOUT)?;
            db.execute_batch("COMMIT")?;
        }
        LAYOUT => {}
        other => return Err(EngineError::Layout(other)),
    }
    Ok(db)
}

impl Engine for Sqlite {
    fn load(&mut self, each: &mut dyn FnMut(Entry)) -> Result<u64, EngineError> {
        let mut newest: i64 = self
            .db
            .query_row("SELECT revision FROM deletion", [], |row| row.get(0))?;
        let mut query = self
            .db
            .prepare("SELECT id, key, create_revision, mod_revision, stamp, value FROM object")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key: &str = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let value = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
            let (created, modified): (i64, i64) = (row.get(2)?, row.get(3)?);
            let stamp: Option<i64> = row.get(4)?;
            newest = newest.max(modified);
            each(Entry::new(
                key.into(),
                (
                    bytes::Bytes::copy_from_slice(value),
                    stamp.map(|at| at as usize),
                ),
                (created as u64, modified as u64),
                row.get(0)?,
            ));
        }
        Ok(newest as u64)
    }

    fn append(&mut self, events: &[Arc<Event>]) -> Result<(), EngineError> {
        let transaction = self.db.transaction()?;
        let mut deletion = None;
        for event in events {
            match (&event.previous, &event.current) {
                (None, Some(new)) => {
                    transaction
                        .prepare_cached("INSERT INTO object VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                        .execute(params![
                            new.row,
                            &*new.key,
                            new.create_revision as i64,
                            new.mod_revision as i64,
                            new.stamp.map(|at| at as i64),
                            &*new.value
                        ])?;
                }
                (Some(_), Some(new)) => {
                    transaction
                        .prepare_cached(
                            "UPDATE object SET mod_revision = ?2, stamp = ?3, value = ?4 WHERE id = ?1",
                        )?
                        .execute(params![
                            new.row,
                            new.mod_revision as i64,
                            new.stamp.map(|at| at as i64),
                            &*new.value
                        ])?;
                }
                (Some(old), None) => {
                    transaction
                        .prepare_cached("DELETE FROM object WHERE id = ?1")?
                        .execute(params![old.row])?;
                    deletion = Some(event.revision);
                }
                (None, None) => {}
            }
        }
        if let Some(revision) = deletion {
            transaction
                .prepare_cached("UPDATE deletion SET revision = ?1")?
                .execute(params![revision as i64])?;
        }
        transaction.commit()?;
        Ok(())
    }
}
