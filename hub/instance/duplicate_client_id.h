/*
 * Whether another client somewhere uses our clientId. Two clients under one id take
 * each other's replies and queue locks, and nothing at a broker says so. But every
 * heartbeat of a hub announces a marker group named after the clientId's hash, which
 * nobody else uses: two addresses in that group at one broker are two such clients.
 */
#pragma once

#include "shm/base/clock.h"

struct mq_client_instance;

#define DUPLICATE_CHECK_FIRST_NS (10 * NS_PER_S)
#define DUPLICATE_CHECK_PERIOD_NS (60 * NS_PER_S)
/** A broker may know an old connection of ours for this long: it drops what was silent for 120 s, every 10 s. */
#define DUPLICATE_CHECK_AFTER_RECONNECT_NS (135 * NS_PER_S)

/**
 * Asks every connected master who is in the marker group (GET_PRODUCER_CONNECTION_LIST). Answers raise or clear the problem
 * "duplicate-client-id" of the clientId. 0 | -errno of a request that could not be made.
 */
int duplicate_client_id_check(struct mq_client_instance *instance);
