// The reference reader: RocketMQ's own Java client, unmodified, pulls every message of a topic from offset 0 of every
// queue up to the maximum offset it saw at the start, and prints what is in the broker.
//
// java -cp CLASSES:JARS/* ReadBack NAMESRV TOPIC
// prints one line per message, tab separated, texts URL-encoded:
//   UNIQ_KEY broker queue offset CRC32(body) length(body) keys tags reconsumeTimes sysFlag name=value&name=value (sorted)
// and at last "# read N of M". A message that cannot be read is an error, never a shorter list.

import java.net.URLEncoder;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
public final class ReadBack {
    public static void main(String[] args) throws Exception {
        final String namesrv = args[0];
        final String topic = args[1];

        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("read-back-" + System.nanoTime(), Credentials.hook());
        consumer.setNamesrvAddr(namesrv);
        consumer.start();
        long read = 0;
        long expected = 0;
        try {
            Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
            for (MessageQueue queue : queues) {
                long max = consumer.maxOffset(queue);
                expected += max;
                read += readQueue(consumer, queue, max);
            }
        } finally {
            consumer.shutdown();
        }
        System.out.println("# read " + read + " of " + expected);
        System.exit(read == expected ? 0 : 1); // Netty's threads would keep the process for another two seconds
    }

    private static long readQueue(DefaultMQPullConsumer consumer, MessageQueue queue, long max) throws Exception {
        long read = 0;
        long offset = 0;
        while (offset < max) {
            PullResult result = consumer.pull(queue, "*", offset, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                throw new IllegalStateException(queue + " offset " + offset + " of " + max + ": " + result);
            }
            for (MessageExt message : result.getMsgFoundList()) {
                if (message.getQueueOffset() < max) {
                    print(queue, message);
                    read++;
                }
            }
            if (result.getNextBeginOffset() <= offset) {
                throw new IllegalStateException(queue + " does not go on from offset " + offset + ": " + result);
            }
            offset = result.getNextBeginOffset();
        }
        return read;
    }

    private static void print(MessageQueue queue, MessageExt message) throws Exception {
        CRC32 crc = new CRC32();
        crc.update(message.getBody());
        StringBuilder properties = new StringBuilder();
        for (Map.Entry<String, String> property : new TreeMap<>(message.getProperties()).entrySet()) {
            if (properties.length() > 0) {
                properties.append('&');
            }
            properties.append(text(property.getKey())).append('=').append(text(property.getValue()));
        }
        System.out.println(text(MessageClientIDSetter.getUniqID(message)) + "\t" + text(queue.getBrokerName()) + "\t" + queue.getQueueId()
            + "\t" + message.getQueueOffset() + "\t" + crc.getValue() + "\t" + message.getBody().length + "\t" + text(message.getKeys())
            + "\t" + text(message.getTags()) + "\t" + message.getReconsumeTimes() + "\t" + message.getSysFlag() + "\t" + properties);
    }

    private static String text(String value) throws Exception {
        return value == null ? "" : URLEncoder.encode(value, "UTF-8");
    }
}
