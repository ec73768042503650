//! Containers and buckets that refs may be in: Azure Blob Storage, S3, Google Cloud Storage.
//!
//! As with folders, only what is allowed is opened: a ref has to begin as one of the configured URLs does, to the
//! letter, and after the percent signs are taken out too. Credentials come from the environment of the worker, never
//! from a ref: one with a query, which is how signed URLs look, is refused. Nothing is held in memory as a whole:
//! inputs are streamed to a local copy, outputs from a local file.

mod http;

use std::fmt;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

use self::http::Connector;
use crate::service::Failure;

/// Which containers and buckets a worker may use.
#[derive(Clone, Default)]
pub struct Settings {
    /// URLs below which refs may be read: `az://container/folder`, `s3://bucket`, `gs://bucket`.
    pub read: Vec<String>,
    /// URLs below which outputs may be written (and read).
    pub write: Vec<String>,
    /// Variables of the environment that hold credentials and endpoints, such as `AZURE_STORAGE_ACCOUNT_NAME`.
    pub environment: Vec<(String, String)>,
}

/// Without the environment, which holds secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("read", &self.read)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

/// A container or bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is named in a way that means none.
    #[error(
        "{0:?} names no container or bucket: write az://container/folder, s3://bucket/folder or gs://bucket/folder"
    )]
    Url(String),
    /// The environment does not say how to reach it.
    #[error(
        "{url} cannot be used: {source}; set the variables of its store, such as AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
    )]
    Store {
        /// Which.
        url: String,
        /// Why not.
        source: object_store::Error,
    },
}

/// A configured place, and the store that it is in.
#[derive(Debug)]
struct Bucket {
    /// As it is written, with a slash at its end.
    written: String,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
}

/// The checked settings.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    readable: Vec<Bucket>,
    writable: Vec<Bucket>,
}

/// One object, or what would be one.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    url: Url,
}

/// Opens a store by one of the builders, which are alike in all but their type. Variables that are no options of the
/// store are other programs'.
macro_rules! built {
    ($builder:ty, $url:expr, $environment:expr) => {{
        let mut builder = <$builder>::new();
        for (name, value) in $environment {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_url($url.as_str())
            .with_http_connector(Connector)
            .build();
        store.map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
    }};
}
impl Bucket {
    fn open(text: &str, environment: &[(String, String)]) -> Result<Self, Error> {
        let named = || Error::Url(text.to_owned());
        let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).map_err(|_| named())?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(named());
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| named())?;
        let store = if scheme == ObjectStoreScheme::MicrosoftAzure {
            built!(MicrosoftAzureBuilder, url, environment)
        } else if scheme == ObjectStoreScheme::AmazonS3 {
            built!(AmazonS3Builder, url, environment)
        } else if scheme == ObjectStoreScheme::GoogleCloudStorage {
            built!(GoogleCloudStorageBuilder, url, environment)
        } else {
            // Folders are roots, and the rest holds nothing.
            return Err(named());
        };
        let unusable = |source| Error::Store {
            url: text.to_owned(),
            source,
        };
        Ok(Self {
            written: url.to_string(),
            prefix,
            store: store.map_err(unusable)?,
        })
    }

    fn holds(&self, url: &Url, path: &Path) -> bool {
        url.as_str().starts_with(&self.written) && path.prefix_matches(&self.prefix)
    }
}

impl Buckets {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let open = |urls: &[String]| {
            let opened = urls
                .iter()
                .map(|url| Bucket::open(url, &settings.environment));
            opened.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            readable: open(&settings.read)?,
            writable: open(&settings.write)?,
        })
    }

    /// The object behind a ref, if it may be read.
    pub(crate) fn readable(&self, uri: &str) -> Result<Place, Failure> {
        self.find(uri, self.readable.iter().chain(&self.writable), "read")
    }

    /// Where something below a ref would be written, if it may be.
    pub(crate) fn writable(&self, uri: &str) -> Result<Place, Failure> {
        let folder = format!("{}/", uri.trim_end_matches('/'));
        self.find(&folder, self.writable.iter(), "written")
    }

    fn find<'a>(
        &self,
        uri: &str,
        mut buckets: impl Iterator<Item = &'a Bucket>,
        verb: &str,
    ) -> Result<Place, Failure> {
        let invalid = |why: &str| Failure::fatal("REF_INVALID", format!("{uri} {why}"));
        let url = Url::parse(uri).map_err(|_| invalid("is not a URI"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Failure::fatal(
                "REF_INVALID",
                "the ref has a query or a fragment, such as a signature: name the object alone; the worker has its own \
                 credentials",
            ));
        }
        let of_scheme = |bucket: &Bucket| bucket.written.starts_with(&format!("{}:", url.scheme()));
        if !self.readable.iter().chain(&self.writable).any(of_scheme) {
            let message = format!(
                "this worker opens no {} refs; copy the data below one of its roots, or give it a bucket",
                url.scheme()
            );
            return Err(Failure::fatal("REF_SCHEME_UNSUPPORTED", message));
        }
        let parsed = ObjectStoreScheme::parse(&url);
        let (_, path) = parsed.map_err(|_| invalid("names no object of a store"))?;
        match buckets.find(|bucket| bucket.holds(&url, &path)) {
            Some(bucket) => Ok(Place {
                store: Arc::clone(&bucket.store),
                path,
                url,
            }),
            None => Err(Failure::fatal(
                "REF_NOT_ALLOWED",
                format!(
                    "{uri} may not be {verb} by this worker; move it below one of its buckets or add a bucket"
                ),
            )),
        }
    }
}

impl Place {
    /// An object of this name below, and its URI.
    pub(crate) fn below(&self, name: &str) -> (Path, String) {
        let uri = format!("{}/{name}", self.url.as_str().trim_end_matches('/'));
        (self.path.clone().join(name), uri)
    }
}

/// True for a URI that is a local file's, or none at all.
pub(crate) fn is_local(uri: &str) -> bool {
    Url::parse(uri).map_or(true, |url| url.scheme() == "file")
}

#[cfg(test)]
#[path = "buckets/tests.rs"]
mod tests;
