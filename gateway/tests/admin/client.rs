//! A node and a client of its Admin API.

use std::net::SocketAddr;
use std::sync::Arc;

use carbyne_gateway::admin::Admin;
use carbyne_gateway::conf::Conf;
use carbyne_gateway::declarative::Loaded;
use carbyne_gateway::entity::Entities;
use carbyne_gateway::schema::uuid;
use carbyne_gateway::store::Embedded;
use carbyne_gateway::value::{Object, Value};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A node that serves its Admin API until it is dropped.
pub(crate) struct Node {
    address: SocketAddr,
    server: JoinHandle<()>,
    _folder: TempDir,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Node {
    /// With the embedded store.
    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(&folder.path().join("store.redb")).unwrap();
        Self::serve(Entities::new(Arc::new(store)), None, folder).await
    }

    /// Without a database.
    pub(crate) async fn dbless() -> Self {
        let loaded = Loaded::default();
        let entities = Entities::new(loaded.store());
        Self::serve(entities, Some(loaded), tempfile::tempdir().unwrap()).await
    }

    async fn serve(entities: Entities, loaded: Option<Loaded>, folder: TempDir) -> Self {
        let file = folder.path().join("kong.conf");
        std::fs::write(&file, "").unwrap();
        let (conf, notes) = Conf::load(Some(&file), std::iter::empty()).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Arc::new(Admin::new(entities, loaded, conf, &uuid()));
        let server = tokio::spawn(async move { admin.serve(listener).await.unwrap() });
        Self {
            address,
            server,
            _folder: folder,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], b"").await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: impl Into<Value>) -> Response {
        let body = body.into().to_json();
        self.send(
            method,
            path,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        )
        .await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, text) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let body = Value::from_json(text.as_bytes()).unwrap_or_default();
        Response {
            status,
            headers: lines.map(header).collect(),
            body,
            text: text.into(),
        }
    }

    /// All entities of a collection, page by page.
    pub(crate) async fn all(&self, path: &str, size: u32) -> Vec<Value> {
        let mut all = Vec::new();
        let mut offset = String::new();
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{mark}size={size}{offset}")).await;
            assert_eq!(page.status, 200, "{path}: {}", page.text);
            all.extend(page.body.get("data").unwrap().as_array().unwrap().to_vec());
            match page.body.get("offset") {
                Some(token) => {
                    offset = format!("&offset={}", token.as_str().unwrap().replace('=', "%3D"))
                }
                None => {
                    assert_eq!(page.body.get("next"), Some(&Value::Null));
                    return all;
                }
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn object(&self) -> Object {
        self.body.as_object().cloned().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16, what: &str) -> Self {
        assert_eq!(self.status, status, "{what}: {}", self.text);
        self
    }
}
