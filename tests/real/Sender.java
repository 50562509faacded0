// The reference producer: RocketMQ's own Java client, unmodified, sending the test messages that ledger_producer.c,
// Sender.java and message_rule.py all build by the same rule. What the hub does is compared with what this does.
//
// java -cp CLASSES:JARS/* Sender NAMESRV GROUP TOPIC NAME COUNT SIZE sync|async|oneway|batch HOLD_MS
// prints one line per message: seq, SendStatus, UNIQ_KEY, queue id, queue offset (tab separated; "-" where there is none).

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;

@SuppressWarnings("deprecation")
public final class Sender {
    private static final int BATCH = 16;

    public static void main(String[] args) throws Exception {
        final String namesrv = args[0];
        final String group = args[1];
        final String topic = args[2];
        final String name = args[3];
        final int count = Integer.parseInt(args[4]);
        final int size = Integer.parseInt(args[5]);
        final String mode = args[6];
        final long holdMs = Long.parseLong(args[7]);

        DefaultMQProducer producer = new DefaultMQProducer(group, Credentials.hook());
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10000);
        producer.start();
        try {
            switch (mode) {
                case "sync":
                    sendSync(producer, topic, name, count, size);
                    break;
                case "async":
                    sendAsync(producer, topic, name, count, size);
                    break;
                case "oneway":
                    sendOneway(producer, topic, name, count, size);
                    break;
                case "batch":
                    sendBatch(producer, topic, name, count, size);
                    break;
                default:
                    throw new IllegalArgumentException("mode " + mode);
            }
            if (holdMs > 0) {
                // The client registers its group with a broker only in the next periodic heartbeat, up to 30 s later.
                producer.getDefaultMQProducerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
            }
            System.out.println("# sent");
            System.out.flush();
            Thread.sleep(holdMs);
        } finally {
            producer.shutdown();
        }
        System.exit(0); // Netty's threads would keep the process for another two seconds
    }

    private static void sendSync(DefaultMQProducer producer, String topic, String name, int count, int size) throws Exception {
        for (int seq = 0; seq < count; seq++) {
            print(seq, producer.send(message(topic, name, seq, size)));
        }
    }

    private static void sendAsync(DefaultMQProducer producer, String topic, String name, int count, int size) throws Exception {
        CountDownLatch open = new CountDownLatch(count);
        for (int seq = 0; seq < count; seq++) {
            final int mine = seq;
            final Message message = message(topic, name, seq, size);
            producer.send(message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    print(mine, result);
                    open.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    print(mine, "EXCEPTION", MessageClientIDSetter.getUniqID(message), "-", "-");
                    System.err.println(e);
                    open.countDown();
                }
            });
        }
        open.await();
    }

    private static void sendOneway(DefaultMQProducer producer, String topic, String name, int count, int size) throws Exception {
        for (int seq = 0; seq < count; seq++) {
            Message message = message(topic, name, seq, size);
            producer.sendOneway(message);
            print(seq, "ONEWAY", MessageClientIDSetter.getUniqID(message), "-", "-");
        }
    }

    private static void sendBatch(DefaultMQProducer producer, String topic, String name, int count, int size) throws Exception {
        for (int first = 0; first < count; first += BATCH) {
            List<Message> batch = new ArrayList<>();
            for (int seq = first; seq < count && seq < first + BATCH; seq++) {
                batch.add(message(topic, name, seq, size));
            }
            SendResult result = producer.send(batch);
            for (int i = 0; i < batch.size(); i++) {
                print(first + i, result.getSendStatus().name(), MessageClientIDSetter.getUniqID(batch.get(i)),
                    Integer.toString(result.getMessageQueue().getQueueId()), Long.toString(result.getQueueOffset() + i));
            }
        }
    }

    /** The test message number seq of the producer called name. The same rule stands in tests/support/message_rule.py. */
    private static Message message(String topic, String name, int seq, int size) {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        byte[] head = (name + ":" + seq + ":").getBytes(StandardCharsets.UTF_8);
        body.write(head, 0, head.length);
        for (int i = head.length; i < size; i++) {
            body.write((seq * 31 + i * 7) & 0xff);
        }
        Message message = new Message(topic, "tag" + seq % 3, name + "-" + seq, body.toByteArray());
        message.putUserProperty("producer", name);
        message.putUserProperty("sequence", Integer.toString(seq));
        message.putUserProperty("note", "naïve café №" + seq);
        return message;
    }

    private static void print(int seq, SendResult result) {
        print(seq, result.getSendStatus().name(), result.getMsgId(), Integer.toString(result.getMessageQueue().getQueueId()),
            Long.toString(result.getQueueOffset()));
    }

    private static synchronized void print(int seq, String status, String uniqKey, String queue, String offset) {
        System.out.println(seq + "\t" + status + "\t" + uniqKey + "\t" + queue + "\t" + offset);
    }
}
