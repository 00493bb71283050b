//! Groups and streams as such: made, deleted, listed.

use crate::error::TelemetryError;
use crate::logs::group::Group;
use crate::logs::index::StreamQuery;
use crate::logs::model::{GroupInfo, NameFilter, StreamInfo};
use crate::logs::shared::{Shared, blocking};
use crate::logs::{names, write};
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn group_create(
    shared: &Shared,
    name: &str,
    now_ms: u64,
) -> Result<(), TelemetryError> {
    names::check_group(name)?;
    let _loading = shared.loading().await;
    match shared.group_make(name, now_ms).await? {
        true => Ok(()),
        false => Err(TelemetryError::GroupExists {
            group: name.to_owned(),
        }),
    }
}

/// Moves the directory aside, drops the rows, removes the directory; goes on to its end also when the caller is cancelled.
pub(crate) async fn group_delete(shared: &Arc<Shared>, name: &str) -> Result<(), TelemetryError> {
    let group = shared.group_existing(name).await?;
    let shared = shared.clone();
    let task = tokio::spawn(async move {
        let _loading = shared.loading().await;
        let _turn = group.turn.lock().await;
        if group.live().deleted {
            return Err(TelemetryError::GroupNotFound {
                group: group.name.clone(),
            });
        }
        // From here on appenders and readers wait for the end of the deletion.
        group.live().deleted = true;
        let aside = shared.deleted_dir(group.id);
        if let Err(error) = remove_rows(&shared, &group, &aside).await {
            group.live().deleted = false;
            return Err(error);
        }
        group.discard();
        shared.forget(&group.name);
        shared.segments_close(|path| path.starts_with(&group.dir));
        blocking(move || {
            std::fs::remove_dir_all(&aside)
                .map_err(|source| TelemetryError::io("remove", &aside, source))
        })
        .await
    });
    task.await.map_err(|_| TelemetryError::Stopped)?
}

/// Moves the directory aside and drops the rows; after an error both are as before.
async fn remove_rows(shared: &Shared, group: &Group, aside: &Path) -> Result<(), TelemetryError> {
    std::fs::rename(&group.dir, aside)
        .map_err(|source| TelemetryError::io("set aside", &group.dir, source))?;
    let removed = shared.index.group_remove(group.id).await;
    if removed.is_err()
        && let Err(error) = std::fs::rename(aside, &group.dir)
    {
        tracing::error!(path = %aside.display(), %error, "cannot take back the deletion of a log group");
    }
    removed
}

pub(crate) async fn group_get(
    shared: &Arc<Shared>,
    name: &str,
) -> Result<Option<GroupInfo>, TelemetryError> {
    let Some(group) = shared.group(name).await? else {
        return Ok(None);
    };
    write::refresh(shared, &group).await?;
    shared.index.group_info(name).await
}

/// The sizes of groups that nobody used since the start are those of the last time somebody asked.
pub(crate) async fn groups(
    shared: &Arc<Shared>,
    filter: &NameFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<GroupInfo>, TelemetryError> {
    let listed = shared.index.groups(filter, after, limit).await?;
    let mut refreshed = false;
    for group in listed
        .iter()
        .filter_map(|info| shared.group_if_loaded(&info.name))
    {
        write::refresh(shared, &group).await?;
        refreshed = true;
    }
    match refreshed {
        true => shared.index.groups(filter, after, limit).await,
        false => Ok(listed),
    }
}

pub(crate) async fn retention_set(
    shared: &Shared,
    name: &str,
    days: Option<u32>,
) -> Result<(), TelemetryError> {
    let group = shared.group_existing(name).await?;
    shared.index.group_retention(group.id, days).await?;
    let mut live = group.live();
    live.retention_days = days;
    if days.is_none() {
        live.expired_ms = 0;
    }
    Ok(())
}

pub(crate) async fn stream_create(
    shared: &Shared,
    name: &str,
    stream: &str,
    now_ms: u64,
) -> Result<(), TelemetryError> {
    names::check_stream(stream)?;
    let group = shared.group_existing(name).await?;
    let _naming = group.naming.lock().await;
    match shared.index.stream_ensure(group.id, stream, now_ms).await? {
        (_, true) => Ok(()),
        (_, false) => Err(TelemetryError::StreamExists {
            group: name.to_owned(),
            stream: stream.to_owned(),
        }),
    }
}

pub(crate) async fn stream_delete(
    shared: &Shared,
    name: &str,
    stream: &str,
) -> Result<(), TelemetryError> {
    let group = shared.group_existing(name).await?;
    let _naming = group.naming.lock().await;
    let removed = shared.index.stream_remove(group.id, stream).await?;
    group.live().streams.remove(stream);
    match removed {
        true => Ok(()),
        false => Err(TelemetryError::StreamNotFound {
            group: name.to_owned(),
            stream: stream.to_owned(),
        }),
    }
}

pub(crate) async fn stream_get(
    shared: &Arc<Shared>,
    name: &str,
    stream: &str,
) -> Result<Option<StreamInfo>, TelemetryError> {
    let Some(group) = shared.group(name).await? else {
        return Ok(None);
    };
    write::refresh(shared, &group).await?;
    shared.index.stream_info(group.id, stream).await
}

pub(crate) async fn stream_check(
    shared: &Shared,
    name: &str,
    stream: &str,
) -> Result<Option<u32>, TelemetryError> {
    let group = shared.group_existing(name).await?;
    stream_id(shared, &group, stream).await?;
    let days = group.live().retention_days;
    Ok(days)
}

/// The id of an existing stream.
pub(crate) async fn stream_id(
    shared: &Shared,
    group: &Group,
    stream: &str,
) -> Result<u64, TelemetryError> {
    let known = group.live().streams.get(stream).copied();
    let found = match known {
        Some(id) => Some(id),
        None => shared.index.stream_find(group.id, stream).await?,
    };
    found.ok_or_else(|| TelemetryError::StreamNotFound {
        group: group.name.clone(),
        stream: stream.to_owned(),
    })
}

pub(crate) async fn streams(
    shared: &Arc<Shared>,
    name: &str,
    query: StreamQuery<'_>,
) -> Result<Vec<StreamInfo>, TelemetryError> {
    let group = shared.group_existing(name).await?;
    write::refresh(shared, &group).await?;
    shared.index.streams(group.id, query).await
}
