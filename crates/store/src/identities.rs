//! Identities: users with their access keys, groups, roles, managed policies. What is in a record is for `control` to know,
//! which keeps all of them in memory; here they are texts by kind and unique id.

use crate::Store;
use crate::error::{StoreError, at};
use crate::record::{RECORD_VERSION, Row, decode, encode};
use crate::secrets;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kind under which the secrets of access keys are sealed.
pub const ACCESS_KEY_SECRETS: &str = "access-key";

/// One change of what is stored about identities.
#[derive(Debug)]
pub struct IdentityChange<T> {
    /// The kind, for example `user`.
    pub kind: &'static str,
    /// The unique id.
    pub id: String,
    /// What is to be stored; none: it goes.
    pub record: Option<T>,
}

/// One change of the sealed secrets of access keys: the id of the key, and its secret; none: it goes.
pub type SecretChange = (String, Option<Vec<u8>>);

impl Store {
    /// All identities of a kind, in the order of their ids.
    pub async fn identities<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>, StoreError> {
        let doing = "read the identities";
        let rows: Vec<Row> =
            sqlx::query_as("SELECT version, record FROM identities WHERE kind = ? ORDER BY id")
                .bind(kind)
                .fetch_all(self.engine().reader())
                .await
                .map_err(at(doing))?;
        rows.iter().map(|row| decode(doing, row)).collect()
    }

    /// Stores changes of identities and of access keys' secrets, all of them or none.
    pub async fn identities_change<T: Serialize + Sync>(
        &self,
        changes: &[IdentityChange<T>],
        keys: &[SecretChange],
    ) -> Result<(), StoreError> {
        let doing = "store the identities";
        let mut tx = self.engine().write(doing).await?;
        for change in changes {
            let query = match &change.record {
                None => sqlx::query("DELETE FROM identities WHERE kind = ? AND id = ?")
                    .bind(change.kind)
                    .bind(&change.id),
                Some(record) => sqlx::query(
                    "INSERT INTO identities (kind, id, version, record) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, record = excluded.record",
                )
                .bind(change.kind)
                .bind(&change.id)
                .bind(RECORD_VERSION)
                .bind(encode(doing, record)?),
            };
            query.execute(&mut *tx).await.map_err(at(doing))?;
        }
        for (id, secret) in keys {
            match secret {
                Some(secret) => {
                    let sealed = self.seal_secret(ACCESS_KEY_SECRETS, id, secret)?;
                    secrets::put(&mut tx, ACCESS_KEY_SECRETS, id, sealed).await?;
                }
                None => {
                    secrets::delete(&mut tx, ACCESS_KEY_SECRETS, id).await?;
                }
            }
        }
        tx.commit().await.map_err(at(doing))
    }
}
