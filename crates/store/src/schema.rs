//! The tables, and how an older database becomes one of today.

use crate::error::{StoreError, at};
use sqlx::sqlite::SqlitePool;

/// Marks the file as ours (SQLite's `application_id`): the bytes `Aprn`.
const APPLICATION_ID: i64 = 0x4170_726e;

/// Each entry brings the schema from the version of its index to the next. Entries are never changed once released, only added.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema/001_begin.sql"),
    include_str!("schema/002_configurations.sql"),
    include_str!("schema/003_cancellations.sql"),
    include_str!("schema/008_vault.sql"),
    include_str!("schema/006_identities.sql"),
    include_str!("schema/011_service_summaries.sql"),
];

/// The version this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Refuses a file that is damaged, not ours, or written by a later version.
pub(crate) async fn check(writer: &SqlitePool) -> Result<(), StoreError> {
    let doing = "open the state database";
    let answers: Vec<(String,)> = sqlx::query_as("PRAGMA quick_check(5)")
        .fetch_all(writer)
        .await
        .map_err(at(doing))?;
    if answers.len() != 1 || answers[0].0 != "ok" {
        let reason = answers
            .into_iter()
            .map(|row| row.0)
            .collect::<Vec<_>>()
            .join("; ");
        return Err(StoreError::Damaged { doing, reason });
    }
    let (application,): (i64,) = sqlx::query_as("PRAGMA application_id")
        .fetch_one(writer)
        .await
        .map_err(at(doing))?;
    let found = version(writer).await?;
    if found > VERSION {
        return Err(StoreError::TooNew {
            doing,
            found,
            known: VERSION,
        });
    }
    let (tables,): (i64,) = sqlx::query_as("SELECT count(*) FROM sqlite_schema")
        .fetch_one(writer)
        .await
        .map_err(at(doing))?;
    if application != APPLICATION_ID && (tables != 0 || found != 0) {
        return Err(StoreError::Damaged {
            doing,
            reason: "the file is the database of another program".to_owned(),
        });
    }
    Ok(())
}

/// Applies the migrations that are missing, each in its own transaction together with its version number.
pub(crate) async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let doing = "bring the state database up to date";
    loop {
        let mut tx = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(at(doing))?;
        let (found,): (i64,) = sqlx::query_as("PRAGMA user_version")
            .fetch_one(&mut *tx)
            .await
            .map_err(at(doing))?;
        let Some(step) = usize::try_from(found)
            .ok()
            .and_then(|index| MIGRATIONS.get(index))
        else {
            return Ok(());
        };
        sqlx::raw_sql(*step)
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        let mark = format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
            found + 1
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark))
            .execute(&mut *tx)
            .await
            .map_err(at(doing))?;
        tx.commit().await.map_err(at(doing))?;
        tracing::info!(version = found + 1, "state database brought up to date");
    }
}

async fn version(writer: &SqlitePool) -> Result<i64, StoreError> {
    let row: (i64,) = sqlx::query_as("PRAGMA user_version")
        .fetch_one(writer)
        .await
        .map_err(at("open the state database"))?;
    Ok(row.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_domain::service::ServiceSummary;
    use serde_json::json;

    /// Runs the migrations from one version to another.
    async fn bring(pool: &SqlitePool, from: usize, to: usize) {
        for script in &MIGRATIONS[from..to] {
            sqlx::raw_sql(*script).execute(pool).await.unwrap();
        }
    }

    #[tokio::test]
    async fn services_of_before_summaries_are_listed() {
        // Each connection to a database in memory has one of its own.
        let one = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = one.connect("sqlite::memory:").await.unwrap();
        let mut migrations = MIGRATIONS.iter();
        let before = migrations
            .position(|it| it.contains("services_listed"))
            .unwrap();
        bring(&pool, 0, before).await;
        let service = json!({
            "id": format!("{:032x}", 7), "name": "it's \"web\"", "label": "abc", "status": "Running",
            "created_at": 1_700_000_000_123_u64, "updated_at": 5, "config": {"environment": {"name": "x"}},
        });
        sqlx::query(
            "INSERT INTO services (id, name, status, deleted, created_at, version, record) VALUES ('7', 'n', 's', 0, 1, 1, ?)",
        )
        .bind(service.to_string())
        .execute(&pool)
        .await
        .unwrap();
        bring(&pool, before, MIGRATIONS.len()).await;
        let (summary,): (String,) = sqlx::query_as("SELECT summary FROM services")
            .fetch_one(&pool)
            .await
            .unwrap();
        let read = |text: &str| serde_json::from_str::<ServiceSummary>(text).unwrap();
        assert_eq!(read(&summary), read(&service.to_string()));
        assert_eq!(read(&summary).name, "it's \"web\"");
    }
}
