import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Every kind of consumer of the unmodified client over one topic:
 *   Consumers NAMESRV TOPIC COUNT SECONDS
 * Sends COUNT messages, every second one with TagA, reads them in four ways, and prints a line for each as soon as all
 * are complete or SECONDS are over: name, distinct messages, messages that came back after a refusal.
 */
public class Consumers {
    private static final String REFUSED = "k7"; // refused once by the concurrent listener

    private final String namesrv;
    private final String topic;
    private final List<DefaultMQPushConsumer> running = new ArrayList<>();
    private final Map<String, Set<String>> seen = new ConcurrentHashMap<>();
    private final AtomicInteger returned = new AtomicInteger();

    private Consumers(String namesrv, String topic) {
        this.namesrv = namesrv;
        this.topic = topic;
    }

    private void note(String name, List<MessageExt> messages) {
        for (MessageExt message : messages) {
            seen.computeIfAbsent(name, n -> ConcurrentHashMap.newKeySet()).add(message.getKeys());
        }
    }

    private int count(String name) {
        return seen.getOrDefault(name, Set.of()).size();
    }

    private DefaultMQPushConsumer push(String name, String tags) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(topic + "-" + name);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(name);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, tags);
        running.add(consumer);
        return consumer;
    }

    private ConsumeConcurrentlyStatus refuseOnce(List<MessageExt> messages,
            org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext context) {
        MessageExt message = messages.get(0);
        if (message.getKeys().equals(REFUSED) && message.getReconsumeTimes() == 0) {
            context.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        }
        returned.addAndGet(message.getReconsumeTimes());
        note("concurrent", messages);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    private void startPush() throws Exception {
        DefaultMQPushConsumer concurrent = push("concurrent", "*");
        concurrent.registerMessageListener((MessageListenerConcurrently) this::refuseOnce);
        DefaultMQPushConsumer tagged = push("tagged", "TagA || TagC");
        tagged.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            note("tagged", messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        DefaultMQPushConsumer orderly = push("orderly", "*");
        orderly.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            note("orderly", messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        for (DefaultMQPushConsumer consumer : running) {
            consumer.start();
        }
    }

    private boolean complete(int expected) {
        return count("concurrent") == expected && returned.get() > 0 && count("tagged") == (expected + 1) / 2
            && count("orderly") == expected && count("lite") == expected;
    }

    private void consume(int expected, long seconds) throws Exception {
        startPush();
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer(topic + "-lite");
        lite.setNamesrvAddr(namesrv);
        lite.setInstanceName("lite");
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        lite.subscribe(topic, "*");
        lite.start();
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!complete(expected) && System.nanoTime() < deadline) {
            note("lite", lite.poll(200));
        }
        for (String name : List.of("concurrent", "tagged", "orderly", "lite")) {
            System.out.println(name + "\t" + count(name) + "\t" + (name.equals("concurrent") ? returned.get() : 0));
        }
        lite.shutdown();
        running.forEach(DefaultMQPushConsumer::shutdown);
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[2]);
        DefaultMQProducer producer = new DefaultMQProducer("consumers-" + args[1]);
        producer.setNamesrvAddr(args[0]);
        producer.start();
        for (int i = 0; i < count; i++) {
            byte[] body = ("body " + i).getBytes(StandardCharsets.UTF_8);
            producer.send(new Message(args[1], i % 2 == 0 ? "TagA" : "TagB", "k" + i, body));
        }
        new Consumers(args[0], args[1]).consume(count, Long.parseLong(args[3]));
        producer.shutdown();
        System.exit(0);
    }
}
