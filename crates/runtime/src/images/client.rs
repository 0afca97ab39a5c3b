//! How a process reaches images: the store itself, or the server process over its socket.

use std::path::{Path, PathBuf};

use super::registry::{Progress, Puller};
use super::service::{self, Request, Response};
use super::{Image, ImageError, ImageRef, Store};

/// A way to the machine's images. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Client {
    /// The store itself; pulls are made by this process.
    Local(Puller, Store),
    /// The socket of [`service::serve`], whose process reaches registries.
    Remote(PathBuf),
}

impl Client {
    /// A client that does all by itself.
    pub fn local(store: Store) -> Self {
        Self::Local(Puller::new(store.clone()), store)
    }

    /// A client of the service that listens at `socket`.
    pub fn remote(socket: impl Into<PathBuf>) -> Self {
        Self::Remote(socket.into())
    }

    /// The image that `reference` names, if it is here.
    pub async fn status(&self, reference: &ImageRef) -> Result<Option<Image>, ImageError> {
        match self
            .ask(
                Request::Status {
                    reference: reference.clone(),
                },
                &|_| {},
            )
            .await?
        {
            Response::Status { image } => Ok(image.map(|image| *image)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Pulls the image, also when one of that name is here.
    pub async fn pull(&self, reference: &ImageRef) -> Result<Image, ImageError> {
        self.pull_with(reference, &|_| {}).await
    }

    /// Like [`Self::pull`], and tells how far it is.
    pub async fn pull_with(
        &self,
        reference: &ImageRef,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, ImageError> {
        match self
            .ask(
                Request::Pull {
                    reference: reference.clone(),
                },
                progress,
            )
            .await?
        {
            Response::Status { image: Some(image) } => Ok(*image),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Loads an archive, whose path is taken on this machine; the images in it.
    pub async fn load(&self, archive: &Path) -> Result<Vec<Image>, ImageError> {
        let archive =
            std::path::absolute(archive).map_err(ImageError::io("open archive", archive))?;
        match self.ask(Request::Load { archive }, &|_| {}).await? {
            Response::Images { images } => Ok(images),
            other => Err(self.unexpected(&other)),
        }
    }

    /// All names, each with its image.
    pub async fn list(&self) -> Result<Vec<Image>, ImageError> {
        match self.ask(Request::List, &|_| {}).await? {
            Response::Images { images } => Ok(images),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Removes a name; content that nothing uses any more goes too. False when there was none.
    pub async fn remove(&self, reference: &ImageRef) -> Result<bool, ImageError> {
        match self
            .ask(
                Request::Remove {
                    reference: reference.clone(),
                },
                &|_| {},
            )
            .await?
        {
            Response::Removed { removed } => Ok(removed),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn ask(
        &self,
        request: Request,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Response, ImageError> {
        match self {
            Self::Local(puller, store) => service::answer(store, puller, request, progress).await,
            Self::Remote(socket) => service::ask(socket, &request, progress).await,
        }
    }

    fn unexpected(&self, response: &Response) -> ImageError {
        let path = match self {
            Self::Local(_, store) => store.root().to_path_buf(),
            Self::Remote(socket) => socket.clone(),
        };
        let text = format!("unexpected answer {response:?}");
        ImageError::Service {
            path,
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, text),
        }
    }
}
