#!/bin/sh
# Environment of a run; to be sourced: . launch/env.sh. A variable that is set already keeps its value.
# shellcheck disable=SC2034

# mpirun refuses to run as root unless told twice; in a container there is often no other user.
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT="${OMPI_ALLOW_RUN_AS_ROOT:-1}"
    export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}"
fi

# Containers forbid reading another process's memory, which Open MPI tries between ranks of one host and then
# complains about in every run.
if [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
    export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
fi

# mpirun looks after 3 s without a word from a host whether it is there; Open MPI's default is 300 s.
export OMPI_MCA_oob_tcp_keepalive_time="${OMPI_MCA_oob_tcp_keepalive_time:-3}"
export OMPI_MCA_oob_tcp_keepalive_intvl="${OMPI_MCA_oob_tcp_keepalive_intvl:-1}"
export OMPI_MCA_oob_tcp_keepalive_probes="${OMPI_MCA_oob_tcp_keepalive_probes:-3}"

# Parallel file systems are often mounted without file locks, and HDF5 then refuses to open anything. A run only
# reads its inputs, and gives its outputs their names when they are complete, so it needs no locks.
export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"
