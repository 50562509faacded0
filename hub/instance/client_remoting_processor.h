/*
 * Requests that brokers send to their clients (4.9.3's ClientRemotingProcessor), as
 * a client with producers only answers them.
 */
#pragma once

struct channel;
struct mq_client_instance;
struct remoting_command;

void client_remoting_processor_run(struct mq_client_instance *instance, struct channel *channel, const struct remoting_command *command);
