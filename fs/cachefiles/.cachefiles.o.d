/work/main/fs/cachefiles/.cachefiles.o.d: /work/main/fs/cachefiles/cachefiles.rs /work/main/fs/cachefiles/backend.rs /work/main/fs/cachefiles/bind.rs /work/main/fs/cachefiles/cache.rs /work/main/fs/cachefiles/coherency.rs /work/main/fs/cachefiles/command.rs /work/main/fs/cachefiles/cull.rs /work/main/fs/cachefiles/device.rs /work/main/fs/cachefiles/dir.rs /work/main/fs/cachefiles/grave.rs /work/main/fs/cachefiles/io.rs /work/main/fs/cachefiles/key.rs /work/main/fs/cachefiles/layout.rs /work/main/fs/cachefiles/limits.rs /work/main/fs/cachefiles/lookup.rs /work/main/fs/cachefiles/notify.rs /work/main/fs/cachefiles/object.rs /work/main/fs/cachefiles/ondemand.rs /work/main/fs/cachefiles/ondemand/anon_fd.rs /work/main/fs/cachefiles/ondemand/answer.rs /work/main/fs/cachefiles/ondemand/deliver.rs /work/main/fs/cachefiles/ondemand/engine.rs /work/main/fs/cachefiles/ondemand/message.rs /work/main/fs/cachefiles/ondemand/reopen.rs /work/main/fs/cachefiles/ondemand/request.rs /work/main/fs/cachefiles/ondemand/state.rs /work/main/fs/cachefiles/ondemand/table.rs /work/main/fs/cachefiles/resize.rs /work/main/fs/cachefiles/space.rs /work/main/fs/cachefiles/volume.rs ./rust/libcore.rmeta /work/main/rust/libcachefiles_trace.rmeta /work/main/rust/libcachefiles_bindings.rmeta ./rust/libkernel.rmeta ./rust/libffi.rmeta ./rust/libcompiler_builtins.rmeta ./rust/libmacros.so ./rust/libbindings.rmeta ./rust/libuapi.rmeta ./rust/libbuild_error.rmeta /work/main/rust/libkext.rmeta /work/main/rust/libfscache.rmeta

/work/main/fs/cachefiles/cachefiles.o: /work/main/fs/cachefiles/cachefiles.rs /work/main/fs/cachefiles/backend.rs /work/main/fs/cachefiles/bind.rs /work/main/fs/cachefiles/cache.rs /work/main/fs/cachefiles/coherency.rs /work/main/fs/cachefiles/command.rs /work/main/fs/cachefiles/cull.rs /work/main/fs/cachefiles/device.rs /work/main/fs/cachefiles/dir.rs /work/main/fs/cachefiles/grave.rs /work/main/fs/cachefiles/io.rs /work/main/fs/cachefiles/key.rs /work/main/fs/cachefiles/layout.rs /work/main/fs/cachefiles/limits.rs /work/main/fs/cachefiles/lookup.rs /work/main/fs/cachefiles/notify.rs /work/main/fs/cachefiles/object.rs /work/main/fs/cachefiles/ondemand.rs /work/main/fs/cachefiles/ondemand/anon_fd.rs /work/main/fs/cachefiles/ondemand/answer.rs /work/main/fs/cachefiles/ondemand/deliver.rs /work/main/fs/cachefiles/ondemand/engine.rs /work/main/fs/cachefiles/ondemand/message.rs /work/main/fs/cachefiles/ondemand/reopen.rs /work/main/fs/cachefiles/ondemand/request.rs /work/main/fs/cachefiles/ondemand/state.rs /work/main/fs/cachefiles/ondemand/table.rs /work/main/fs/cachefiles/resize.rs /work/main/fs/cachefiles/space.rs /work/main/fs/cachefiles/volume.rs ./rust/libcore.rmeta /work/main/rust/libcachefiles_trace.rmeta /work/main/rust/libcachefiles_bindings.rmeta ./rust/libkernel.rmeta ./rust/libffi.rmeta ./rust/libcompiler_builtins.rmeta ./rust/libmacros.so ./rust/libbindings.rmeta ./rust/libuapi.rmeta ./rust/libbuild_error.rmeta /work/main/rust/libkext.rmeta /work/main/rust/libfscache.rmeta

/work/main/fs/cachefiles/cachefiles.rs:
/work/main/fs/cachefiles/backend.rs:
/work/main/fs/cachefiles/bind.rs:
/work/main/fs/cachefiles/cache.rs:
/work/main/fs/cachefiles/coherency.rs:
/work/main/fs/cachefiles/command.rs:
/work/main/fs/cachefiles/cull.rs:
/work/main/fs/cachefiles/device.rs:
/work/main/fs/cachefiles/dir.rs:
/work/main/fs/cachefiles/grave.rs:
/work/main/fs/cachefiles/io.rs:
/work/main/fs/cachefiles/key.rs:
/work/main/fs/cachefiles/layout.rs:
/work/main/fs/cachefiles/limits.rs:
/work/main/fs/cachefiles/lookup.rs:
/work/main/fs/cachefiles/notify.rs:
/work/main/fs/cachefiles/object.rs:
/work/main/fs/cachefiles/ondemand.rs:
/work/main/fs/cachefiles/ondemand/anon_fd.rs:
/work/main/fs/cachefiles/ondemand/answer.rs:
/work/main/fs/cachefiles/ondemand/deliver.rs:
/work/main/fs/cachefiles/ondemand/engine.rs:
/work/main/fs/cachefiles/ondemand/message.rs:
/work/main/fs/cachefiles/ondemand/reopen.rs:
/work/main/fs/cachefiles/ondemand/request.rs:
/work/main/fs/cachefiles/ondemand/state.rs:
/work/main/fs/cachefiles/ondemand/table.rs:
/work/main/fs/cachefiles/resize.rs:
/work/main/fs/cachefiles/space.rs:
/work/main/fs/cachefiles/volume.rs:
./rust/libcore.rmeta:
/work/main/rust/libcachefiles_trace.rmeta:
/work/main/rust/libcachefiles_bindings.rmeta:
./rust/libkernel.rmeta:
./rust/libffi.rmeta:
./rust/libcompiler_builtins.rmeta:
./rust/libmacros.so:
./rust/libbindings.rmeta:
./rust/libuapi.rmeta:
./rust/libbuild_error.rmeta:
/work/main/rust/libkext.rmeta:
/work/main/rust/libfscache.rmeta:
