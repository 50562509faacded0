/*
 * Access control of the brokers, with one account: signatures are verified as a 4.9.3 broker with aclEnable=true
 * does; who signs right may do everything.
 */
#pragma once

#include "tests/devbroker/devbroker.h"

/** Refuses a request (code 1, an AclException's text) that is not signed by the account. True when it may be executed. */
bool acl_allows(struct request *r);
