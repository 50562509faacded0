// The ACL hook of the reference clients, from the system properties rmqhub.accessKey and rmqhub.secretKey.

import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.remoting.RPCHook;

final class Credentials {
    private Credentials() {
    }

    /** null when the properties are not set. */
    static RPCHook hook() {
        String accessKey = System.getProperty("rmqhub.accessKey");
        return accessKey == null ? null : new AclClientRPCHook(new SessionCredentials(accessKey, System.getProperty("rmqhub.secretKey")));
    }
}
