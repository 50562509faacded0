/*
 * Look-ups in the ext fields of a decoded header. Headers have a dozen fields at
 * most, so a walk beats any index.
 */
#include "hub/remoting/remoting_command.h"

#include "hub/remoting/wire_json.h"

struct span remoting_command_ext(const struct remoting_command *command, const char *key)
{
    struct span wanted = span_of(key);
    for (unsigned i = command->ext_count; i > 0; i--)
        if (span_equals(command->ext[i - 1].key, wanted))
            return command->ext[i - 1].value;
    return (struct span){NULL, 0};
}

bool remoting_command_ext_i64(const struct remoting_command *command, const char *key, int64_t *out)
{
    struct span text = remoting_command_ext(command, key);
    return text.data && span_to_i64(text, out);
}
