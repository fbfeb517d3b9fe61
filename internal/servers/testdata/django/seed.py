import datetime as D, uuid, decimal, os
from django.contrib.auth.models import User,Group,Permission
from django.contrib.contenttypes.models import ContentType
from shop.models import *
from django.conf import settings
tz=D.timezone.utc
aw=(lambda d: d) if not settings.USE_TZ else (lambda d:d.replace(tzinfo=tz))
g=Group.objects.create(name='eds'); g.permissions.set(Permission.objects.filter(codename__in=['add_tag','view_book','add_group','change_site']))
u=User.objects.create(username='ann',password='x',date_joined=aw(D.datetime(2024,1,2,3,4,5,678901)))
u.groups.add(g); u.user_permissions.set(Permission.objects.filter(codename__in=['delete_tag','add_author']))
t=[Tag.objects.create(slug=s) for s in ('b','a','c')]
a=Author.objects.create(name='A & <b> \u2028 é 😀',created=aw(D.datetime(2024,7,1,12)),user=u)
b=Author.objects.create(name='B',created=aw(D.datetime(2024,7,1,12,0,0,123)),parent=a)
a.friends.add(b)
k=Book.objects.create(title='T1',author=a,by_name=b,soft=t[0],external_id=7); k.tags.set(t)
k2=Book.objects.create(title='T2',author=b)
a.favourite=k2;a.save()
p=Place.objects.create(name='p1'); r=Restaurant.objects.create(name='r1',stars=3); r.menu.set([k,k2]); Restaurant.objects.create(name='z9',stars=1)
Stock.objects.create(place=p,book=k,n=2)
uu=Uu.objects.create(id=uuid.UUID('12345678123456781234567812345678'),tag=t[0]); ur=UuRef.objects.create(uu=uu); ur.uus.add(uu)
for c in (('b','A','É','_') if os.environ['DB']=='mysql' else ('b','A','a','É','_')): CharPk.objects.create(code=c)
base=dict(small=-1,big=9223372036854775807,txt='line\n\t"q"\\ \x7f \u0001',email='a@b',)
Kitchen.objects.create(bool=True,dec=decimal.Decimal('0'),fl=1.0,**base)
Kitchen.objects.create(bool=False,nbool=True,dec=decimal.Decimal('0.00000001'),dec2=decimal.Decimal('-10.50'),fl=1e16,dt=aw(D.datetime(2024,3,31,1,30,0,999999)),d=D.date(1,1,1),t=D.time(1,2,3,4),dur=D.timedelta(days=-1,seconds=5,microseconds=7),u=uuid.UUID(int=5),bin=b'\x00\xff abc',js={'b':1,'a':[1.0,1e16,1e-7,None,True,"é<>&"],'n':12345678901234567890123},ip='2001:db8::1',f='x/y.txt',ct=ContentType.objects.get_for_model(Tag),oid=1,**base)
Kitchen.objects.create(bool=False,dec=decimal.Decimal('123456789012.12345678'),fl=1e-7,dt=aw(D.datetime(2024,3,31,1,30,0,120000)),t=D.time(1,2),dur=D.timedelta(hours=30),js=[],ip='10.0.0.1',**base)
Kitchen.objects.create(bool=False,dec=decimal.Decimal('5'),fl=0.1+0.2,dt=aw(D.datetime(2024,10,27,0,30)),dur=D.timedelta(seconds=1,microseconds=500000),js='str',ip='::ffff:10.0.0.1',**base)
Kitchen.objects.create(bool=False,dec=decimal.Decimal('0.00001'),fl=123456789012345680.0,js={'f':1.5},**base)
from django.db import connection
from django.db.models import Value
Kitchen.objects.create(bool=False,dec=1,fl=2.5e-5,js=Value(None,JSONField()) if hasattr(models,'JSONField') and False else 0,**base)
if connection.vendor=='postgresql':
    Kitchen.objects.create(bool=False,dec=1,fl=float('inf'),**base)
    Kitchen.objects.create(bool=False,dec=1,fl=float('nan'),**base)
Filtered._base_manager.create(ok=False); Filtered._base_manager.create(ok=True)
q=Question.objects.create(); Answer.objects.create(q=q); Answer.objects.create(q=q)
l=AVeryLongModelNameThatGoesOnAndOnAndOnUntilIt.objects.create(); l.tags_of_a_long_name.add(t[0])
try:
    Compo.objects.create(a=1,b='x',v=2); Gen.objects.create(a=4)
except NameError: pass
from django.contrib.flatpages.models import FlatPage
from django.contrib.sites.models import Site
f=FlatPage.objects.create(url='/x/',title='x'); f.sites.add(Site.objects.get())
if connection.vendor=='postgresql':
    from pgapp.models import Pgm
    from psycopg2.extras import NumericRange as N, DateRange, DateTimeTZRange
    try:
        from psycopg.types.range import Range
        N=DateRange=DateTimeTZRange=Range
    except ImportError: pass
    Pgm.objects.create()
    dt=aw(D.datetime(2024,1,1,0,0,0,1))
    Pgm.objects.create(ai=[1,None,3],at=['é','a"b',''],ab=[True,None],adt=[dt],adec=[decimal.Decimal('0'),decimal.Decimal('1.5')],aa=[[1,2],[3,None]],auu=[uuid.UUID(int=1)],ajs=[{'b':1,'a':2},None],hs={'zz':'1','a':None,'é':'"'},ir=N(1,5),nr=N(None,decimal.Decimal('2.50'),'(]'),dr=DateRange(D.date(2024,1,1),None),tr=DateTimeTZRange(dt,None,'[)'),fl=[1.0,1e16])
    Pgm.objects.create(ir=N(empty=True),ai=[])
    with connection.cursor() as c: c.execute("update pgapp_pgm set sv=to_tsvector('hello world') where id=1")
from evolved.models import Shelf,Item,Moved
s1=Shelf.objects.create(label='s1'); s2=Shelf.objects.create(label='s2')
i=Item.objects.create(shelf=s1,price=decimal.Decimal('1.250'),span=D.timedelta(hours=3,microseconds=1),serial=7)
i.owners.add(u); i.near.set([s2,s1])
j=Item.objects.create(shelf=s1,price=decimal.Decimal('2')); s1.set_item_order([j.pk,i.pk])
Moved.objects.create(what='old')
