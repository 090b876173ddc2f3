/* Waiting for other ranks without losing sight of them (contact.c). Only the main thread calls these. */
#pragma once

#include "gmvae/comm.h"

#include <mpi.h>

/* Gives the ranks a way to talk beside the work. Collective; first of all. */
void gmv_contact_open(const gmv_comm *comm);

/* Names of the hosts. Collective. @param[in] host  this one's */
gmv_status gmv_contact_hosts(const gmv_comm *comm, const char *host);
void gmv_contact_close(void);

/* Seconds that a wait spins before it naps between looks, which leaves the core to others. */
void gmv_contact_spin(double seconds);

/* Seconds without a sign of life after which a rank counts as lost. */
void gmv_contact_timeout(double seconds);
double gmv_contact_limit(void);

/* Whether what is waited for must not be cut short by a signal, as a checkpoint that is being written. */
void gmv_contact_be_patient(bool patient);

/* Completes requests, which become MPI_REQUEST_NULL. Does not return when a rank is lost: the run ends with 75. */
void gmv_contact_wait(MPI_Request *request, int n);

/* 0, 1, 2, ..., each to one caller. Rank 0 gives them out whenever it hears of the others. */
int64_t gmv_contact_number(void);
void gmv_contact_restart_numbers(void);
