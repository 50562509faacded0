// The reference run of the conformance comparison: the unmodified Java client does what scenario_producer.c does.
//
// java -cp CLASSES:JARS/* Scenario NAMESRV GROUP KNOWN_TOPIC NEW_TOPIC IDLE_MS
// prints "mark NAME NANOSECONDS" at the borders of its phases (CLOCK_MONOTONIC, which is what nanoTime reads on Linux).

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

public final class Scenario {
    private static void mark(String name) {
        System.out.println("mark " + name + " " + System.nanoTime());
        System.out.flush();
    }

    private static Message message(String topic, int number) {
        Message message = new Message(topic, "TagA", "key" + number, ("body " + number).getBytes(StandardCharsets.UTF_8));
        message.putUserProperty("colour", "grün");
        return message;
    }

    private static void expectStored(SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            throw new IllegalStateException(result.toString());
        }
    }

    private static void sendAsync(DefaultMQProducer producer, Message message) throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        Throwable[] failure = new Throwable[1];
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                done.countDown();
            }

            @Override
            public void onException(Throwable e) {
                failure[0] = e;
                done.countDown();
            }
        });
        done.await();
        if (failure[0] != null) {
            throw new IllegalStateException(failure[0]);
        }
    }

    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(args[1]);
        producer.setNamesrvAddr(args[0]);
        producer.setSendMsgTimeout(10000);
        mark("start");
        producer.start();
        mark("started");
        Thread.sleep(Long.parseLong(args[4]));
        mark("send");
        expectStored(producer.send(message(args[2], 0)));
        expectStored(producer.send(message(args[3], 1)));
        sendAsync(producer, message(args[2], 2));
        producer.sendOneway(message(args[2], 3));
        mark("shutdown");
        producer.shutdown();
        mark("end");
        System.exit(0); // Netty's threads would keep the process for another two seconds
    }
}
