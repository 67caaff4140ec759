//! One session with an ensemble: what is read, watched and written there.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::Duration;

use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, Error, MultiReadResult, Permission,
    PersistentWatcher, Stat, StateWatcher, TlsOptions,
};

use crate::config::{Format, ServerTls, ZooKeeper};
use crate::control::topology::decode::{ZNode, native};
use crate::topology::Document;

/// Members read in one request: their replies stay far below the MiB of a frame.
const MEMBERS_PER_READ: usize = 256;

/// A session. The library keeps it alive and connects it again; once it has expired it is dead.
pub(super) struct Session {
    client: Client,
    /// Who may do what with the znodes that we create.
    acls: Vec<Acl>,
}

impl Session {
    /// Connects, within about one session timeout.
    pub(super) async fn open(place: &ZooKeeper) -> Result<Self, String> {
        let ZooKeeper { connect, chroot, auth, tls, session_timeout, .. } = place;
        let mut connector = Client::connector().with_session_timeout(*session_timeout);
        let mut acls = vec![Acl::new(Permission::ALL, AuthId::anyone())];
        if let Some(auth) = auth {
            connector = connector.with_auth("digest", auth.reveal().as_bytes());
            let everybody = Acl::new(Permission::READ, AuthId::anyone());
            acls = vec![Acl::new(Permission::ALL, AuthId::authed()), everybody];
        }
        let cluster = format!("{connect}{chroot}");
        let client = match tls {
            Some(tls) => connector.with_tls(options(tls)?).secure_connect(&cluster).await,
            None => connector.connect(&cluster).await,
        };
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self { client, acls })
    }

    /// What was negotiated.
    pub(super) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Its states from now on.
    pub(super) fn states(&self) -> StateWatcher {
        self.client.state_watcher()
    }

    /// Watches what the source at `path` consists of, there or not.
    pub(super) async fn watch(
        &self,
        path: &str,
        format: Format,
    ) -> Result<PersistentWatcher, Error> {
        match format {
            // The pointer alone: acknowledgements of all proxies below the same path would wake each.
            Format::Native => {
                let pointer = join(path, native::POINTER);
                self.client.watch(&pointer, AddWatchMode::Persistent).await
            }
            Format::Nutcracker | Format::List => {
                self.client.watch(&rooted(path), AddWatchMode::Persistent).await
            }
            Format::ServerSet | Format::Nerve | Format::Curator => {
                self.client.watch(&rooted(path), AddWatchMode::PersistentRecursive).await
            }
        }
    }

    /// Asks the leader, through the server that we are connected to.
    pub(super) async fn sync(&self, path: &str) -> Result<(), Error> {
        self.client.sync(&rooted(path)).await
    }

    /// What is there now, as far as all earlier writes are concerned.
    pub(super) async fn read(&self, path: &str, format: Format) -> Result<Vec<ZNode>, Error> {
        self.client.sync(&rooted(path)).await?;
        match format {
            Format::Native => self.read_version(path).await,
            Format::Nutcracker | Format::List => {
                let whole = self.get(&rooted(path), "").await?;
                Ok(whole.map(|(node, _)| node).into_iter().collect())
            }
            Format::ServerSet | Format::Nerve | Format::Curator => self.read_members(path).await,
        }
    }

    async fn read_version(&self, path: &str) -> Result<Vec<ZNode>, Error> {
        let pointer = self.get(&join(path, native::POINTER), native::POINTER).await?;
        let Some((pointer, _)) = pointer else { return Ok(Vec::new()) };
        let mut nodes = vec![pointer];
        if let Ok(active) = native::active(&nodes[0].data) {
            let version = native::version_path(active);
            let node = self.get(&join(path, &version), &version).await?;
            nodes.extend(node.map(|(node, _)| node));
        }
        Ok(nodes)
    }

    /// A version that was active once; none if it is not there any more.
    pub(super) async fn read_earlier(
        &self,
        path: &str,
        epoch: u64,
    ) -> Result<Option<ZNode>, Error> {
        let version = native::version_path(epoch);
        let node = self.get(&join(path, &version), &version).await?;
        Ok(node.map(|(node, _)| node))
    }

    async fn read_members(&self, path: &str) -> Result<Vec<ZNode>, Error> {
        let Some((mut root, _)) = self.get(&rooted(path), "").await? else {
            return Ok(Vec::new());
        };
        let (mut names, stat) = match self.client.get_children(&rooted(path)).await {
            Err(Error::NoNode) => return Ok(Vec::new()),
            children => children?,
        };
        // A child that has gone leaves its mark here.
        root.zxid = root.zxid.max(zxid(stat.pzxid));
        names.sort_unstable();
        let mut nodes = vec![root];
        // One that has gone in the meantime is no member any more.
        for (name, data, stat) in self.read_all(path, &names).await? {
            nodes.push(ZNode { path: name, data, zxid: zxid(stat.mzxid) });
        }
        Ok(nodes)
    }

    /// What the children of these names hold, as far as they are there.
    async fn read_all(
        &self,
        path: &str,
        names: &[String],
    ) -> Result<Vec<(String, Vec<u8>, Stat)>, Error> {
        let mut read = Vec::with_capacity(names.len());
        for names in names.chunks(MEMBERS_PER_READ) {
            let mut reader = self.client.new_multi_reader();
            for name in names {
                reader.add_get_data(&join(path, name))?;
            }
            for (name, result) in names.iter().zip(reader.commit().await?) {
                if let MultiReadResult::Data { data, stat } = result {
                    read.push((name.clone(), data, stat));
                }
            }
        }
        Ok(read)
    }

    async fn get(&self, path: &str, name: &str) -> Result<Option<(ZNode, Stat)>, Error> {
        match self.client.get_data(path).await {
            Ok((data, stat)) => {
                Ok(Some((ZNode { path: name.to_owned(), data, zxid: zxid(stat.mzxid) }, stat)))
            }
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says something in `path/folder/id`, which ends with the session.
    pub(super) async fn say(
        &self,
        (path, folder): (&str, &str),
        id: &str,
        text: &str,
    ) -> Result<(), Error> {
        let folder = join(path, folder);
        let node = join(&folder, id);
        let acls = Acls::new(&self.acls);
        self.client.mkdir(&folder, &CreateMode::Persistent.with_acls(acls)).await?;
        let options = CreateMode::Ephemeral.with_acls(acls);
        if let Some((_, stat)) = self.get(&node, id).await? {
            if stat.ephemeral_owner == self.client.session_id().0 {
                self.client.set_data(&node, text.as_bytes(), None).await?;
                return Ok(());
            }
            // It is of a session before this one, and would end with that.
            match self.client.delete(&node, None).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        self.client.create(&node, text.as_bytes(), &options).await.map(|_| ())
    }

    /// Takes back what was said there in this session.
    pub(super) async fn unsay(&self, (path, folder): (&str, &str), id: &str) -> Result<(), Error> {
        let node = join(&join(path, folder), id);
        let Some((_, stat)) = self.get(&node, id).await? else { return Ok(()) };
        if stat.ephemeral_owner != self.client.session_id().0 {
            return Ok(());
        }
        match self.client.delete(&node, None).await {
            Ok(()) | Err(Error::NoNode) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What everybody says in `path/folder`: who and what.
    pub(super) async fn said(
        &self,
        path: &str,
        folder: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let (names, _) = self.names(path, folder).await?;
        self.said_by(path, folder, &names).await
    }

    /// What these say there.
    pub(super) async fn said_by(
        &self,
        path: &str,
        folder: &str,
        names: &[String],
    ) -> Result<Vec<(String, String)>, Error> {
        let read = self.read_all(&join(path, folder), names).await?;
        let text = |data: Vec<u8>| String::from_utf8_lossy(&data).into_owned();
        Ok(read.into_iter().map(|(id, data, _)| (id, text(data))).collect())
    }

    /// Who says something there, and the mark that the last of them to come or go has left.
    pub(super) async fn names(
        &self,
        path: &str,
        folder: &str,
    ) -> Result<(Vec<String>, i64), Error> {
        match self.client.get_children(&join(path, folder)).await {
            Ok((names, stat)) => Ok((names, stat.pzxid)),
            Err(Error::NoNode) => Ok((Vec::new(), 0)),
            Err(error) => Err(error),
        }
    }

    /// That mark alone: a short answer however many they are.
    pub(super) async fn mark(&self, path: &str, folder: &str) -> Result<i64, Error> {
        let stat = self.client.check_stat(&join(path, folder)).await?;
        Ok(stat.map_or(0, |stat| stat.pzxid))
    }

    /// What stands in `path/name`; `None` if that is nothing.
    pub(super) async fn told(&self, path: &str, name: &str) -> Result<Option<String>, Error> {
        let node = self.get(&join(path, name), name).await?;
        let text = node.map(|(node, _)| String::from_utf8_lossy(&node.data).into_owned());
        Ok(text.filter(|text| !text.is_empty()))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        match self.client.list_children(folder).await {
            Err(Error::NoNode) => Ok(Vec::new()),
            children => children,
        }
    }

    /// Stands for election in `path/folder`, until the session ends; the name of the candidate.
    pub(super) async fn stand(&self, path: &str, folder: &str) -> Result<String, Error> {
        let acls = Acls::new(&self.acls);
        let folder = join(path, folder);
        self.client.mkdir(&folder, &CreateMode::Persistent.with_acls(acls)).await?;
        let options = CreateMode::EphemeralSequential.with_acls(acls);
        let (_, number) = self.client.create(&join(&folder, "n_"), b"", &options).await?;
        Ok(format!("n_{number}"))
    }

    /// The candidate that has stood for longest: it is elected.
    pub(super) async fn elected(&self, path: &str, folder: &str) -> Result<Option<String>, Error> {
        Ok(self.list(&join(path, folder)).await?.into_iter().min())
    }

    /// Makes a topology that is not there yet: its first version and the pointer to that.
    pub(super) async fn found(&self, path: &str, document: &Document) -> Result<(), Error> {
        let options = CreateMode::Persistent.with_acls(Acls::new(&self.acls));
        self.client.mkdir(&join(path, native::VERSIONS), &options).await?;
        let version = join(path, &native::version_path(document.epoch));
        let mut writer = self.client.new_multi_writer();
        writer.add_create(&version, native::write(document).as_bytes(), &options)?;
        let pointer = native::pointer(document.epoch, false);
        writer.add_create(&join(path, native::POINTER), &pointer, &options)?;
        writer.commit().await.map_err(Error::from)?;
        Ok(())
    }

    /// Writes the version that follows the active one, and has the pointer name it, unless
    /// somebody else was first.
    pub(super) async fn publish(&self, path: &str, document: &Document) -> Result<(), Error> {
        self.publish_with(path, document, None).await
    }

    /// The same, together with what then stands in a node beside it.
    pub(super) async fn publish_with(
        &self,
        path: &str,
        document: &Document,
        beside: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        let pointer = join(path, native::POINTER);
        let (data, stat) = self.client.get_data(&pointer).await?;
        if native::active(&data).ok() != document.epoch.checked_sub(1) {
            return Err(Error::BadVersion);
        }
        let options = CreateMode::Persistent.with_acls(Acls::new(&self.acls));
        let version = join(path, &native::version_path(document.epoch));
        if let Some((name, _)) = beside {
            self.client.mkdir(&join(path, name), &options).await?;
        }
        let mut writer = self.client.new_multi_writer();
        if let Some((name, text)) = beside {
            writer.add_set_data(&join(path, name), text.as_bytes(), None)?;
        }
        writer.add_create(&version, native::write(document).as_bytes(), &options)?;
        writer.add_set_data(
            &pointer,
            &native::pointer(document.epoch, false),
            Some(stat.version),
        )?;
        writer.commit().await.map_err(Error::from)?;
        Ok(())
    }
}

fn options(tls: &ServerTls) -> Result<TlsOptions, String> {
    fn wrong(path: &Path) -> impl Fn(&dyn Display) -> String {
        move |error| format!("{}: {error}", path.display())
    }
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| wrong(path)(&error));
    let ca = TlsOptions::new().with_pem_ca(&read(&tls.ca)?);
    let mut options = ca.map_err(|error| wrong(&tls.ca)(&error))?;
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        let own = options.with_pem_identity(&read(certificate)?, &read(key)?);
        options = own.map_err(|error| wrong(certificate)(&error))?;
    }
    Ok(options)
}

fn zxid(zxid: i64) -> u64 {
    u64::try_from(zxid).unwrap_or_default()
}

fn rooted(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

fn join(path: &str, child: &str) -> String {
    format!("{path}/{child}")
}
