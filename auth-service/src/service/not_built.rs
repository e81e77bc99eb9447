//! Methods that are in the contract and not built yet.

/// Methods that answer UNIMPLEMENTED by their names in the contract.
macro_rules! not_built {
    ($($method:ident($request:ident) -> $response:ident, $name:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: not built yet.")]
            fn $method<'life, 'call>(
                &'life self,
                _: Request<pb::$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<pb::$response>, Status>> + Send + 'call>>
            where
                'life: 'call,
                Self: 'call,
            {
                Box::pin(std::future::ready(Err($crate::service::service_error::ServiceError::NotBuilt($name).into())))
            }
        )*
    };
}
pub(crate) use not_built;
