// Sends with JavaMail and prints what an application gets.
import java.util.Properties;
import javax.mail.Message;
import javax.mail.MessagingException;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;

public class WithJavaMail {
    public static void main(String[] args) throws Exception {
        Properties p = new Properties();
        p.put("mail.smtp.host", "127.0.0.1");
        p.put("mail.smtp.port", args[0]);
        MimeMessage m = new MimeMessage(Session.getInstance(p));
        m.setFrom(new InternetAddress("app@example.com"));
        m.setRecipient(Message.RecipientType.TO, new InternetAddress(args[1]));
        m.setSubject("x");
        m.setText("text");
        try {
            Transport.send(m);
        } catch (MessagingException e) {
            System.out.println(e);
        }
    }
}
